//! Scaling of initial weights for sparse layers.

use crate::dead::Filters;
use candle_core::Var;
use taper_core::{LayerInfo, LayerKind};
use taper_kernels::mask::Mask;
use taper_nn::ops::tensor_like;

/// Factor on initial weights, applied once when the first masks are chosen at step 0, before the first optimizer update.
/// A pruner whose first step is a later one does not scale weights.
///
/// Weights are initialized for the fan-in or fan-out of dense layers. With fewer weights, activations and gradients
/// shrink from layer to layer.
///
/// # References
/// Evci et al., "Gradient flow in sparse neural networks and how lottery tickets win" (arXiv:2010.03533), and RigL's
/// `unit_scaled` and `layer_scaled`, which sample new weights with that variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialScale {
    /// 1: weights are not scaled.
    #[default]
    None,
    /// `√(n/k)` for an output that keeps k of its n weights.
    FanIn,
    /// `√(n/k)` for a layer that keeps k of its n weights.
    Layer,
}

impl InitialScale {
    /// Names in experiment files.
    pub const ALL: [(&str, Self); 3] =
        [("none", Self::None), ("fan-in", Self::FanIn), ("layer", Self::Layer)];

    /// Multiplies the weights of a layer with this mask.
    pub(crate) fn apply(self, info: &LayerInfo, mask: &Mask, var: &Var) -> candle_core::Result<()> {
        if self == Self::None {
            return Ok(());
        }
        let dense = var.as_detached_tensor();
        let factors = tensor_like(self.factors(info, mask), &dense)?;
        var.set(&(dense * factors)?)
    }

    /// The factor of each weight.
    fn factors(self, info: &LayerInfo, mask: &Mask) -> Vec<f32> {
        let of = |n: u64, n_kept: u64| match n_kept {
            0 => 1.0,
            n_kept => (n as f64 / n_kept as f64).sqrt() as f32,
        };
        let all = of(mask.len() as u64, mask.n_kept());
        let mut factors = vec![if self == Self::Layer { all } else { 1.0 }; mask.len()];
        if self == Self::FanIn {
            let outputs = outputs(info);
            for output in 0..outputs.n() {
                let weights = || outputs.weights(output).flatten();
                let n_kept = weights().filter(|&index| mask.is_kept(index)).count();
                let factor = of(weights().count() as u64, n_kept as u64);
                weights().for_each(|index| factors[index] = factor);
            }
        }
        factors
    }
}

/// Index ranges of the weights of each output; in a linear layer these are rows, as in a convolution.
fn outputs(info: &LayerInfo) -> Filters {
    match info.kind {
        LayerKind::Linear => Filters::of(&LayerInfo { kind: LayerKind::Conv, ..info.clone() }),
        _ => Filters::of(info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_outputs_and_layers() {
        let info =
            |kind, shape: &[usize]| LayerInfo { name: String::new(), kind, shape: shape.to_vec() };
        let mut mask = Mask::empty(8);
        [0, 4, 5, 6, 7].iter().for_each(|&index| mask.set(index, true));
        let linear = info(LayerKind::Linear, &[2, 4]);
        let of_rows = [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(InitialScale::FanIn.factors(&linear, &mask), of_rows);
        assert_eq!(InitialScale::Layer.factors(&linear, &mask), [1.6f32.sqrt(); 8]);
        assert_eq!(InitialScale::None.factors(&linear, &mask), [1.0; 8]);
        // Outputs of a transposed convolution are columns of kernels.
        let transposed = info(LayerKind::ConvTranspose { groups: 1 }, &[4, 2, 1]);
        let mut mask = Mask::empty(8);
        [0, 2, 4, 6, 3].iter().for_each(|&index| mask.set(index, true));
        let of_columns = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0];
        assert_eq!(InitialScale::FanIn.factors(&transposed, &mask), of_columns);
        // A row without weights stays as it is.
        assert_eq!(InitialScale::FanIn.factors(&linear, &Mask::empty(8)), [1.0; 8]);
    }
}
