//! Architectures with the state-dict names of PyTorch.
//!
//! Each file is one family and opens with its layers, parameter and multiply-accumulate counts. The zoo knows
//! layers alone: no pruning, no data, no training.
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

pub use densenet::DenseNet40;
pub use digits_cnn::DigitsCnn;
pub use mobilenet::MobileNetV1;
pub use resnet::ResNet20;
pub use resnet_imagenet::ResNet;

#[doc(no_inline)]
pub use candle_core;

use candle_core::{Device, Result};
use std::fmt;
use taper_nn::{Model, Scope};

/// An architecture of the zoo.
#[derive(Clone, Copy)]
pub struct Architecture {
    /// Name on the command line and in checkpoints.
    pub name: &'static str,
    /// One line for a list.
    pub summary: &'static str,
    /// Image it is built for: channels, height, width.
    pub image: [usize; 3],
    build: fn(&Scope, usize) -> Result<Box<dyn Model>>,
}

/// Every architecture, in the order of a list.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "resnet20",
        summary: "wide ResNet-20 for 32x32 images (32/64/128 channels), as in Feather",
        image: [3, 32, 32],
        build: |scope, classes| Ok(Box::new(ResNet20::new(scope, classes)?)),
    },
    Architecture {
        name: "mobilenet-v1",
        summary: "MobileNetV1 for 32x32 images, as in Feather",
        image: [3, 32, 32],
        build: |scope, classes| Ok(Box::new(MobileNetV1::new(scope, classes)?)),
    },
    Architecture {
        name: "densenet40-24",
        summary: "DenseNet of depth 40 and growth 24 with bottlenecks, for 32x32 images",
        image: [3, 32, 32],
        build: |scope, classes| Ok(Box::new(DenseNet40::new(scope, classes)?)),
    },
    Architecture {
        name: "resnet18",
        summary: "ResNet-18 for 224x224 images, as in torchvision",
        image: [3, 224, 224],
        build: |scope, classes| Ok(Box::new(ResNet::resnet18(scope, classes)?)),
    },
    Architecture {
        name: "resnet50",
        summary: "ResNet-50 for 224x224 images, as in torchvision",
        image: [3, 224, 224],
        build: |scope, classes| Ok(Box::new(ResNet::resnet50(scope, classes)?)),
    },
    Architecture {
        name: "mobilenet-v1-imagenet",
        summary: "MobileNetV1 for 224x224 images, as in its paper",
        image: [3, 224, 224],
        build: |scope, classes| Ok(Box::new(MobileNetV1::imagenet(scope, classes)?)),
    },
    Architecture {
        name: "digits-cnn",
        summary: "three convolutions for the 8x8 digits of the quick suite",
        image: [1, 8, 8],
        build: |scope, classes| Ok(Box::new(DigitsCnn::new(scope, classes)?)),
    },
];

impl Architecture {
    /// The architecture of this name.
    ///
    /// # Errors
    /// [`UnknownArchitecture`], which lists the names there are.
    pub fn find(name: &str) -> std::result::Result<&'static Self, UnknownArchitecture> {
        ARCHITECTURES
            .iter()
            .find(|a| a.name == name)
            .ok_or_else(|| UnknownArchitecture { name: name.into() })
    }

    /// A network with `classes` outputs, initialised from `seed`.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn build(&self, classes: usize, seed: u64, device: &Device) -> Result<Box<dyn Model>> {
        self.build_in(&Scope::new(seed, device), classes)
    }

    /// The same in a scope, which decides on values and types: those of a checkpoint with
    /// [`Scope::with_source`], f64 or bf16 with [`Scope::with_dtype`].
    ///
    /// # Errors
    /// If the device cannot hold it, or the values do not fit.
    pub fn build_in(&self, scope: &Scope, classes: usize) -> Result<Box<dyn Model>> {
        (self.build)(scope, classes)
    }
}

/// The network called `name`; see [`Architecture::find`] and [`Architecture::build`].
///
/// # Errors
/// If there is none of that name, or the device cannot hold it.
pub fn build(
    name: &str,
    classes: usize,
    seed: u64,
    device: &Device,
) -> std::result::Result<Box<dyn Model>, BuildError> {
    Ok(Architecture::find(name)?.build(classes, seed, device)?)
}

/// A network that cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no architecture of that name.
    Unknown(UnknownArchitecture),
    /// The device cannot hold it.
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

/// A name that no architecture has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArchitecture {
    name: String,
}

impl fmt::Display for UnknownArchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
        write!(f, "unknown model `{}`; the models are {}", self.name, names.join(", "))
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
    fn an_unknown_name_is_refused_with_the_names_there_are() {
        let error = build("resnet21", 10, 0, &Device::Cpu).err().expect("an error").to_string();
        assert!(error.contains("resnet21") && error.contains("digits-cnn"), "{error}");
    }
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
