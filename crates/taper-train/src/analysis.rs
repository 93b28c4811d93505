//! Analysis of a sparse network: kept weights, multiply-accumulates, and weights on a path from input to output.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::cell::RefCell;
use taper_core::{LayerInfo, Sparsity};
use taper_nn::{ForwardHook, Gates, LayerEvent, Mode, Model, Params, Pass, ops::with_values};

/// The counts of a prunable layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerAnalysis {
    /// The layer.
    pub info: LayerInfo,
    /// Weights that are not zero.
    pub n_kept: u64,
    /// Non-zero weights on a path of non-zero weights from the input to the output.
    pub n_effective: u64,
    /// Multiply-accumulates per image with all weights.
    pub macs_dense: u64,
    /// Multiply-accumulates per image with the non-zero weights only.
    pub macs_sparse: u64,
}

/// The counts of all prunable layers, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The layers.
    pub layers: Vec<LayerAnalysis>,
}

impl Analysis {
    /// Sum of `of` over the layers.
    pub fn total(&self, of: impl Fn(&LayerAnalysis) -> u64) -> u64 {
        self.layers.iter().map(of).sum()
    }

    /// The fraction of prunable weights that are zero.
    pub fn sparsity(&self) -> Sparsity {
        Sparsity::of(self.total(|l| l.n_kept), self.total(|l| l.info.n_weights()))
    }

    /// The fraction of prunable weights that are zero, or on no path of non-zero weights from input to output.
    ///
    /// # References
    /// Vysogorets and Kempe, "Connectivity matters" (arXiv:2107.02306).
    pub fn effective_sparsity(&self) -> Sparsity {
        Sparsity::of(self.total(|l| l.n_effective), self.total(|l| l.info.n_weights()))
    }
}

/// Analyses the current weights. `image` is the shape of one image, `[channels, height, width]`.
///
/// # Errors
/// If the image does not fit the network.
pub fn analyse(model: &dyn Model, image: [usize; 3]) -> Result<Analysis> {
    let layers: Vec<(LayerInfo, Var)> =
        model.params().prunable().map(|(info, var)| (info, var.clone())).collect();
    let [channels, height, width] = image;
    let shape = (1, channels, height, width);
    let macs = layer_macs(model, image)?;

    // In f64, because the number of paths spans hundreds of orders of magnitude. On the CPU, because it supports every
    // operation in f64.
    let indicators: Vec<Var> = layers
        .iter()
        .map(|(info, var)| {
            let kept = with_values(&[var.as_tensor()], |w| {
                w[0].iter().map(|&w| f64::from(w != 0.0)).collect::<Vec<_>>()
            })?;
            Var::from_vec(kept, &info.shape[..], &Device::Cpu)
        })
        .collect::<Result<_>>()?;
    let weights: Vec<Tensor> = indicators.iter().map(|v| v.as_tensor().clone()).collect();
    let ones = Tensor::ones(shape, DType::F64, &Device::Cpu)?;
    let grads = model
        .forward(&ones, &Pass::new(Mode::Paths(&weights), &Gates::NONE))?
        .sum_all()?
        .backward()?;

    let analyses =
        layers.into_iter().zip(&indicators).zip(macs).map(|((layer, indicator), macs)| {
            let kept = indicator.flatten_all()?.to_vec1::<f64>()?;
            let paths = match grads.get(indicator) {
                Some(grad) => grad.flatten_all()?.to_vec1::<f64>()?,
                None => vec![0.0; kept.len()],
            };
            let info = layer.0;
            let n_kept = kept.iter().filter(|&&k| k != 0.0).count() as u64;
            Ok(LayerAnalysis {
                n_effective: kept.iter().zip(&paths).filter(|&(&k, &p)| k != 0.0 && p > 0.0).count()
                    as u64,
                n_kept,
                macs_dense: macs,
                macs_sparse: macs / info.n_weights().max(1) * n_kept,
                info,
            })
        });
    Ok(Analysis { layers: analyses.collect::<Result<_>>()? })
}

/// The number of non-zero prunable weights, and the number of all prunable weights.
///
/// # Errors
/// If a weight cannot be read from its device.
pub fn n_kept(params: &Params) -> Result<(u64, u64)> {
    let (mut n_kept, mut n) = (0, 0);
    for (info, var) in params.prunable() {
        n_kept += with_values(&[var.as_tensor()], |w| w[0].iter().filter(|&&w| w != 0.0).count())?;
        n += info.n_weights();
    }
    Ok((n_kept as u64, n))
}

/// Multiply-accumulates per image of each prunable layer, in order, counting all weights.
///
/// # Errors
/// If the image does not fit the network.
pub fn layer_macs(model: &dyn Model, [channels, height, width]: [usize; 3]) -> Result<Vec<u64>> {
    let layers: Vec<_> = model.params().prunable().collect();
    let macs = Macs(RefCell::new(vec![0; layers.len()]));
    let device = layers.first().map_or(Device::Cpu, |(_, var)| var.device().clone());
    let image = Tensor::zeros((1, channels, height, width), model.params().dtype(), &device)?;
    model.forward(&image, &Pass::eval().watched_by(&macs))?;
    Ok(macs.0.into_inner())
}

/// Records the multiply-accumulates of each layer.
struct Macs(RefCell<Vec<u64>>);

impl ForwardHook for Macs {
    fn layer(&self, event: &LayerEvent) -> Result<()> {
        let Some(id) = event.id else { return Ok(()) };
        match self.0.borrow_mut().get_mut(id.0) {
            Some(macs) => *macs = event.macs,
            None => candle_core::bail!(
                "{} reports layer {}, which the model does not have",
                event.name,
                id.0
            ),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_core::LayerId;
    use taper_nn::{Init, Linear, Scope};

    /// A linear layer. The forward pass also reports another layer, with the id in the second field.
    struct Net(Linear, Option<LayerId>, Params);

    impl Model for Net {
        fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
            let y = self.0.forward(images.flatten_from(1)?, pass)?;
            pass.report("head", self.1, &y, 5)?;
            y.tensor()
        }

        fn params(&self) -> &Params {
            &self.2
        }
    }

    #[test]
    fn networks_of_every_type_are_analysed_and_unknown_layers_are_errors() -> Result<()> {
        let net = |dtype, reported: Option<usize>| -> Result<Net> {
            let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
            let linear = Linear::new(&scope.pp("fc"), 4, 3, Init::Uniform)?;
            Ok(Net(linear, reported.map(LayerId), scope.finish()))
        };
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let found = analyse(&net(dtype, None)?, [1, 2, 2])?;
            assert_eq!(found.total(|l| l.macs_dense), 12, "{dtype:?}");
            assert_eq!(found.effective_sparsity(), Sparsity::DENSE, "{dtype:?}");
        }
        assert_eq!(layer_macs(&net(DType::F32, Some(0))?, [1, 2, 2])?, [5]);
        let error = layer_macs(&net(DType::F32, Some(1))?, [1, 2, 2]).unwrap_err().to_string();
        assert!(error.contains("head reports layer 1, which the model does not have"), "{error}");
        Ok(())
    }

    #[test]
    fn weights_behind_a_dead_channel_are_not_effective() -> Result<()> {
        let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu).expect("a network");
        let whole = analyse(&*model, [1, 8, 8])?;
        assert_eq!(whole.effective_sparsity(), Sparsity::DENSE);
        assert_eq!(whole.total(|l| l.macs_dense), 378_496);

        // Set the weights of output channel 5 of conv1 to 0. The 32×3×3 weights of conv2 that read it are then not
        // effective.
        let conv1 = &model.params().get("conv1.weight").expect("a layer").var;
        let mut values = conv1.flatten_all()?.to_vec1::<f32>()?;
        values[5 * 9..6 * 9].fill(0.0);
        conv1.set(&Tensor::from_vec(values, conv1.dims(), &Device::Cpu)?)?;
        let cut = analyse(&*model, [1, 8, 8])?;
        assert_eq!(cut.layers[0].n_kept, 144 - 9);
        assert_eq!(cut.layers[0].macs_sparse, 9_216 / 144 * 135);
        assert_eq!((cut.layers[1].n_kept, cut.layers[1].n_effective), (4_608, 4_608 - 288));
        assert_eq!(cut.layers[2].n_effective, cut.layers[2].n_kept);
        Ok(())
    }
}
