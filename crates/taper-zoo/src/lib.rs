//! Architectures with the state-dict names of PyTorch.
//!
//! Each file has one family, and starts with a table of its layers and its parameter and multiply-accumulate counts.
//! The zoo contains architectures only: no pruning, no data, no training.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use taper_nn::{Model, Pass};
//!
//! let model = taper_zoo::build("resnet20", 100, 0, &Device::Cpu)?;
//! assert_eq!(model.params().n_params(), 1_096_196);
//! let images = Tensor::zeros((1, 3, 32, 32), DType::F32, &Device::Cpu)?;
//! assert_eq!(model.forward(&images, &Pass::eval())?.dims(), [1, 100]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod densenet;
mod digits_cnn;
mod mobilenet;
mod resnet;
mod resnet_imagenet;
mod width;

pub use densenet::DenseNet40;
pub use digits_cnn::DigitsCnn;
pub use mobilenet::MobileNetV1;
pub use resnet::ResNet20;
pub use resnet_imagenet::ResNet;
pub use width::Width;

#[doc(no_inline)]
pub use candle_core;

use candle_core::{DType, Device, Result, Tensor};
use std::{borrow::Cow, fmt};
use taper_nn::{Model, Scope};

/// An architecture of the zoo.
#[derive(Clone)]
pub struct Architecture {
    /// Name on the command line and in checkpoints: the family, followed by `@` and the width unless that is 1.
    pub name: Cow<'static, str>,
    /// One-line description.
    pub summary: &'static str,
    /// Size of its images: channels, height, width.
    pub image: [usize; 3],
    width: Width,
    build: fn(&Scope, usize, Width) -> Result<Box<dyn Model>>,
}

/// Every architecture at full width, in the order in which they are listed.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: Cow::Borrowed("resnet20"),
        summary: "wide ResNet-20 for 32x32 images (32/64/128 channels), as in Feather",
        image: [3, 32, 32],
        width: Width::FULL,
        build: |scope, classes, width| Ok(Box::new(ResNet20::of_width(scope, classes, width)?)),
    },
    Architecture {
        name: Cow::Borrowed("mobilenet-v1"),
        summary: "MobileNetV1 for 32x32 images, as in Feather",
        image: [3, 32, 32],
        width: Width::FULL,
        build: |scope, classes, width| Ok(Box::new(MobileNetV1::of_width(scope, classes, width)?)),
    },
    Architecture {
        name: Cow::Borrowed("densenet40-24"),
        summary: "DenseNet of depth 40 and growth 24 with bottlenecks, for 32x32 images",
        image: [3, 32, 32],
        width: Width::FULL,
        build: |scope, classes, width| Ok(Box::new(DenseNet40::of_width(scope, classes, width)?)),
    },
    Architecture {
        name: Cow::Borrowed("resnet18"),
        summary: "ResNet-18 for 224x224 images, as in torchvision",
        image: [3, 224, 224],
        width: Width::FULL,
        build: |scope, classes, width| {
            Ok(Box::new(ResNet::resnet18_of_width(scope, classes, width)?))
        },
    },
    Architecture {
        name: Cow::Borrowed("resnet50"),
        summary: "ResNet-50 for 224x224 images, as in torchvision",
        image: [3, 224, 224],
        width: Width::FULL,
        build: |scope, classes, width| {
            Ok(Box::new(ResNet::resnet50_of_width(scope, classes, width)?))
        },
    },
    Architecture {
        name: Cow::Borrowed("mobilenet-v1-imagenet"),
        summary: "MobileNetV1 for 224x224 images, as in its paper",
        image: [3, 224, 224],
        width: Width::FULL,
        build: |scope, classes, width| {
            Ok(Box::new(MobileNetV1::imagenet_of_width(scope, classes, width)?))
        },
    },
    Architecture {
        name: Cow::Borrowed("digits-cnn"),
        summary: "three convolutions for the 8x8 digits of the quick suite",
        image: [1, 8, 8],
        width: Width::FULL,
        build: |scope, classes, width| Ok(Box::new(DigitsCnn::of_width(scope, classes, width)?)),
    },
];

impl Architecture {
    /// The architecture called `name`: `resnet20`, or `resnet20@0.5` for half the channels.
    ///
    /// # Errors
    /// [`UnknownArchitecture`], with the known names or the range of widths.
    pub fn find(name: &str) -> std::result::Result<Self, UnknownArchitecture> {
        let (family, width) = match name.split_once('@') {
            None => (name, Some(Width::FULL)),
            Some((family, width)) => (family, width.parse().ok().and_then(Width::new)),
        };
        let unknown = |has_family| UnknownArchitecture { name: name.into(), has_family };
        let found = ARCHITECTURES.iter().find(|a| a.name == family);
        let found = found.ok_or_else(|| unknown(false))?;
        Ok(found.of_width(width.ok_or_else(|| unknown(true))?))
    }

    /// Factor on the channel counts of the family.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The architecture of the same family with this width.
    #[must_use]
    pub fn of_width(&self, width: Width) -> Self {
        let family = self.name.split('@').next().unwrap_or_default();
        let name = match width == Width::FULL {
            true => family.to_string(),
            false => format!("{family}@{width}"),
        };
        Self { name: name.into(), width, ..self.clone() }
    }

    /// The widest architecture of the same family, up to the width of this one, that has at most `n_params` parameters
    /// with `classes` outputs. `None` if even one channel per layer has too many. The search is over multiples of
    /// 1/10,000 of this width.
    ///
    /// ```
    /// use taper_zoo::Architecture;
    ///
    /// let full = Architecture::find("resnet20")?;
    /// let narrow = full.narrowed(100, 112_532)?.expect("a network");
    /// assert_eq!(narrow.name, "resnet20@0.3164");
    /// assert_eq!(narrow.zeros(100)?.params().n_params(), 110_750);
    /// # Ok::<(), taper_zoo::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// If memory cannot hold one of the networks tried.
    pub fn narrowed(&self, classes: usize, n_params: u64) -> Result<Option<Self>> {
        const STEPS: u32 = 10_000;
        let narrowed = |step: u32| {
            let width = Width::new(self.width.factor() * f64::from(step) / f64::from(STEPS));
            width.map(|width| self.of_width(width))
        };
        // A wider network never has fewer parameters, so bisection finds the widest that fits.
        let (mut fits, mut is_too_wide) = (0, STEPS + 1);
        while is_too_wide - fits > 1 {
            let middle = fits.midpoint(is_too_wide);
            let Some(narrow) = narrowed(middle) else { break };
            match narrow.zeros(classes)?.params().n_params() <= n_params {
                true => fits = middle,
                false => is_too_wide = middle,
            }
        }
        Ok(narrowed(fits))
    }

    /// A network with `classes` outputs, initialized from `seed`.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn build(&self, classes: usize, seed: u64, device: &Device) -> Result<Box<dyn Model>> {
        self.build_in(&Scope::new(seed, device), classes)
    }

    /// A network with all values 0, to read its names, shapes and counts.
    ///
    /// # Errors
    /// If memory cannot hold it.
    pub fn zeros(&self, classes: usize) -> Result<Box<dyn Model>> {
        let scope = Scope::new(0, &Device::Cpu).with_source(|_, shape| {
            Ok(Some(Tensor::zeros(shape.clone(), DType::F32, &Device::Cpu)?))
        });
        self.build_in(&scope, classes)
    }

    /// A network in a scope, which sets values and types: the values of a checkpoint with [`Scope::with_source`], f64
    /// or bf16 with [`Scope::with_dtype`].
    ///
    /// # Errors
    /// If the device cannot hold it, or the values do not fit.
    pub fn build_in(&self, scope: &Scope, classes: usize) -> Result<Box<dyn Model>> {
        (self.build)(scope, classes, self.width)
    }
}

/// The network called `name`; see [`Architecture::find`] and [`Architecture::build`].
///
/// # Errors
/// If no architecture has that name, or the device cannot hold the network.
pub fn build(
    name: &str,
    classes: usize,
    seed: u64,
    device: &Device,
) -> std::result::Result<Box<dyn Model>, BuildError> {
    Ok(Architecture::find(name)?.build(classes, seed, device)?)
}

/// Why a network cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// No architecture has that name.
    Unknown(UnknownArchitecture),
    /// The device cannot hold the network.
    Candle(candle_core::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(error) => error.fmt(f),
            Self::Candle(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<UnknownArchitecture> for BuildError {
    fn from(error: UnknownArchitecture) -> Self {
        Self::Unknown(error)
    }
}

impl From<candle_core::Error> for BuildError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(error)
    }
}

/// The error for a name that no architecture has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArchitecture {
    name: String,
    /// Whether the family is known, and only the width is invalid.
    has_family: bool,
}

impl fmt::Display for UnknownArchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, has_family } = self;
        if *has_family {
            let family = name.split('@').next().unwrap_or_default();
            return write!(
                f,
                "model `{name}` has no width in (0, 4] after the @; write {family}@0.5, for example"
            );
        }
        let names: Vec<&str> = ARCHITECTURES.iter().map(|a| &*a.name).collect();
        write!(f, "unknown model `{name}`; the models are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownArchitecture {}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Tensor};
    use taper_nn::{Gates, Pass};

    #[test]
    fn every_architecture_takes_its_image_and_gives_logits() -> Result<()> {
        for architecture in ARCHITECTURES {
            let model = architecture.build(7, 0, &Device::Cpu)?;
            let [channels, height, width] = architecture.image;
            let images = Tensor::ones((2, channels, height, width), DType::F32, &Device::Cpu)?;
            assert_eq!(
                model.forward(&images, &Pass::eval())?.dims(),
                [2, 7],
                "{}",
                architecture.name
            );
            let loss = model.forward(&images, &Pass::train(&Gates::NONE))?.sum_all()?;
            let grads = loss.backward()?;
            for (entry, _) in model.params().trained() {
                assert!(
                    grads.get(&entry.var).is_some(),
                    "{} of {} has no gradient",
                    entry.name,
                    architecture.name
                );
            }
        }
        Ok(())
    }

    #[test]
    fn every_architecture_can_be_narrower_and_is_found_by_its_name()
    -> std::result::Result<(), BuildError> {
        for full in ARCHITECTURES {
            let [channels, height, width] = full.image;
            let images = Tensor::ones(
                (1, channels, height.min(32), width.min(32)),
                DType::F32,
                &Device::Cpu,
            )?;
            let mut n_params = u64::MAX;
            for factor in ["1", "0.5", "0.15", "0.001"] {
                let narrow = Architecture::find(&format!("{}@{factor}", full.name))?;
                let model = narrow.build(7, 0, &Device::Cpu)?;
                assert!(model.params().n_params() < n_params, "{}", narrow.name);
                n_params = model.params().n_params();
                assert_eq!(narrow.zeros(7)?.params().layers(), model.params().layers());
                assert_eq!(
                    model.forward(&images, &Pass::eval())?.dims(),
                    [1, 7],
                    "{}",
                    narrow.name
                );
                let again = Architecture::find(&narrow.name)?;
                assert_eq!((again.name, again.width), (narrow.name.clone(), narrow.width));
                assert_eq!(narrow.of_width(Width::FULL).name, full.name);
            }
        }
        Ok(())
    }

    #[test]
    fn the_widest_network_of_a_number_of_parameters_is_found() -> Result<()> {
        let full = Architecture::find("digits-cnn").expect("the network");
        let n_params =
            |a: &Architecture| Ok::<_, candle_core::Error>(a.zeros(10)?.params().n_params());
        assert_eq!(full.narrowed(10, 24_058)?.map(|a| a.name), Some("digits-cnn".into()));
        // One channel per layer: three convolutions of 9 weights, a linear layer of 10 weights and 10 biases, and three
        // batch norms of two parameters, 53 in all.
        assert_eq!(full.narrowed(10, 52)?.map(|a| a.name), None);
        for most in [53, 500, 2_616, 24_057] {
            let narrow = full.narrowed(10, most)?.expect("a network");
            let wider = full.of_width(Width::new(narrow.width().factor() + 1e-4).expect("a width"));
            assert!(n_params(&narrow)? <= most && n_params(&wider)? > most, "{most}");
        }
        Ok(())
    }

    #[test]
    fn initial_values_have_the_scales_of_the_published_networks() -> Result<()> {
        for full in ARCHITECTURES {
            let model = full.build(100, 3, &Device::Cpu)?;
            let values = |name: &str| -> Result<Option<Vec<f64>>> {
                let entry = model.params().get(name);
                let read = |entry: &taper_nn::Entry| {
                    entry.var.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()
                };
                entry.map(read).transpose()
            };
            for info in model.params().layers() {
                let fan_in: usize = info.shape[1..].iter().product();
                let fan_out = info.shape[0] * info.shape[2..].iter().product::<usize>();
                let bound = 1.0 / (fan_in as f64).sqrt();
                let is_linear = info.shape.len() == 2;
                let is_of = |family| full.name.starts_with(family);
                let has_torch_linear = is_of("densenet") || full.image[1] > 32;
                let is_uniform = is_of("mobilenet") || is_linear && has_torch_linear;
                let std = match (is_uniform, is_linear) {
                    (true, _) => bound / 3f64.sqrt(),
                    (false, true) => 0.01,
                    (false, false) => (2.0 / fan_out as f64).sqrt(),
                };
                let weights = values(&info.name)?.expect("a weight");
                let square = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
                // Four standard errors of an estimate from this many normal values.
                let error = 4.0 / (2.0 * weights.len() as f64).sqrt();
                let (name, found) = (&info.name, square.sqrt());
                assert!(
                    (found / std - 1.0).abs() < error,
                    "{} {name}: {found}, not {std}",
                    full.name
                );
                if is_uniform {
                    let largest = weights.iter().fold(0.0f64, |most, w| most.max(w.abs()));
                    assert!(largest <= bound * (1.0 + 1e-6), "{name}: {largest} above {bound}");
                }
                if let Some(biases) = values(&name.replace("weight", "bias"))? {
                    let largest = biases.iter().fold(0.0f64, |most, b| most.max(b.abs()));
                    let range =
                        if is_uniform { 0.9 * bound..bound * (1.0 + 1e-6) } else { 0.0..1e-9 };
                    assert!(range.contains(&largest), "{} {name}: bias of {largest}", full.name);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_known_names() {
        let error = build("resnet21", 10, 0, &Device::Cpu).err().expect("an error").to_string();
        assert!(error.contains("resnet21") && error.contains("digits-cnn"), "{error}");
        for width in ["0", "-1", "4.1", "nan", "", "half", "1@1"] {
            let error = Architecture::find(&format!("resnet20@{width}"))
                .err()
                .expect("an error")
                .to_string();
            assert!(
                error.contains("no width in (0, 4]") && error.contains("resnet20@0.5"),
                "{error}"
            );
        }
    }
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
