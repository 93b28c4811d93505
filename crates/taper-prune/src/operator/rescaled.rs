//! Soft thresholding that preserves the mean magnitude of each output channel.

use super::{Gated, Operator};
use crate::dead::Filters;
use std::ops::Range;
use taper_core::LayerInfo;

/// Soft thresholding, with each output channel scaled up to compensate the loss of mean magnitude:
///
/// ```text
/// value = c·sign(w)·(|w| − threshold),  c = 1.01 / (r + 0.01),  r = (mean |w|·m + 1e-6) / (mean |w| + 1e-6)
/// ```
///
/// Here `m` is the mask, and means are over the weights of a channel. The gradient passes straight through, without the
/// factor `c`.
///
/// # References
/// Vanderschueren and De Vleeschouwer, "Are straight-through gradients and soft-thresholding all you need for sparse
/// training?" (arXiv:2212.01076): ST-3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RescaledSoft;

impl Operator for RescaledSoft {
    fn needs_cut(&self) -> bool {
        true
    }

    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        layers.iter().map(|layer| (layer.cut > 0.0).then(|| of_layer(layer))).collect()
    }
}

fn of_layer(layer: &Gated) -> Vec<f32> {
    let mut values = vec![0.0; layer.weights.len()];
    for channel in channels(layer.info) {
        let places = || channel.iter().cloned().flatten();
        let magnitude = |place: usize| f64::from(layer.weights[place].abs());
        let n = places().count() as f64;
        let all = places().map(magnitude).sum::<f64>() / n;
        let kept = places().filter(|&place| layer.mask.is_kept(place));
        let kept = kept.map(magnitude).sum::<f64>() / n;
        let scale = 1.01 / ((kept + 1e-6) / (all + 1e-6) + 0.01);
        for place in places() {
            let w = layer.weights[place];
            let shrunk = f64::from((w.abs() - layer.cut).max(0.0));
            values[place] = ((scale * shrunk) as f32).copysign(w);
        }
    }
    values
}

/// Index ranges of the weights of each output channel.
fn channels(info: &LayerInfo) -> Vec<Vec<Range<usize>>> {
    let filters = Filters::of(info);
    if filters.n() > 0 {
        return (0..filters.n()).map(|filter| filters.weights(filter).collect()).collect();
    }
    let rows = info.shape.first().copied().unwrap_or(1).max(1);
    let size = info.n_weights() as usize / rows;
    (0..rows).map(|row| std::iter::once(row * size..(row + 1) * size).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{gated, info};
    use super::*;
    use taper_core::LayerKind;
    use taper_kernels::mask::Mask;

    #[test]
    fn a_channel_is_scaled_to_compensate_its_loss() {
        let (info, weights) = (info(&[2, 2]), [0.5f32, -0.25, 1.0, -3.0]);
        let mask = Mask::above(&weights, 0.25);
        let values = RescaledSoft.values(&[gated(&info, &weights, &mask, 0.25)]);
        let values = values[0].as_ref().unwrap();
        // 1.01 / ((0.25 + 1e-6) / (0.375 + 1e-6) + 0.01); the second channel loses nothing.
        let scale = 1.01 / (0.250001 / 0.375001 + 0.01);
        for (got, want) in values.iter().zip([0.25 * scale, 0.0, 0.75, -2.75]) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{values:?}");
        }
        assert_eq!(RescaledSoft.values(&[gated(&info, &weights, &mask, 0.0)]), [None]);
    }

    #[test]
    fn channels_of_a_transposed_convolution_are_along_its_second_axis() {
        let (rows, weights) = (info(&[2, 2]), [0.5f32, -0.25, 1.0, -3.0]);
        let kind = LayerKind::ConvTranspose { groups: 1 };
        let columns = LayerInfo { kind, shape: vec![2, 2, 1], ..rows.clone() };
        let of = |info: &LayerInfo, weights: &[f32]| {
            let mask = Mask::above(weights, 0.25);
            RescaledSoft.values(&[gated(info, weights, &mask, 0.25)]).swap_remove(0).unwrap()
        };
        let [a, b, c, d] = weights;
        let (of_rows, of_columns) = (of(&rows, &weights), of(&columns, &[a, c, b, d]));
        assert_eq!([0, 2, 1, 3].map(|i| of_columns[i]), of_rows[..]);
    }
}
