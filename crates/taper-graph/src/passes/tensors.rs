//! Names and values of tensors that passes create.

use crate::{GraphError, Tensor, interpret::channels};

/// Name of the bias for a weight: `x.bias` for `x.weight`.
pub(super) fn bias_of(weight: &str) -> String {
    format!("{}.bias", weight.strip_suffix(".weight").unwrap_or(weight))
}

/// A bias from values for each channel or each pixel, rounded to f32. It is `[channels]` if all pixels of a channel are
/// equal.
pub(super) fn bias(dims: &[usize], values: &[f64]) -> Result<Tensor, GraphError> {
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    let channels = channels(dims);
    let pixels = (values.len() / channels.max(1)).max(1);
    let differ = |a: f32, b: f32| a != b && !(a.is_nan() && b.is_nan());
    if values.chunks_exact(pixels).any(|plane| plane.iter().any(|&x| differ(x, plane[0]))) {
        return Tensor::new(dims, values);
    }
    let values: Vec<f32> = values.into_iter().step_by(pixels).collect();
    Tensor::new(&[channels], values)
}

/// Values in f64.
pub(super) fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.values().iter().map(|&x| x.into()).collect()
}

/// Values of channels or elements, each repeated to make `n` elements.
pub(super) fn spread<T: Copy>(values: &[T], n: usize) -> impl Iterator<Item = T> {
    let each = n / values.len().max(1);
    values.iter().flat_map(move |&x| std::iter::repeat_n(x, each))
}

/// The given channels (dimension 0) of a tensor.
pub(super) fn channels_of(tensor: &Tensor, channels: &[usize]) -> Result<Tensor, GraphError> {
    let Some((_, rest)) = tensor.dims().split_first() else { return Ok(tensor.clone()) };
    let pixels: usize = rest.iter().product();
    let planes = channels.iter().flat_map(|&c| &tensor.values()[c * pixels..][..pixels]);
    let values: Vec<f32> = planes.copied().collect();
    Tensor::new(&[&[channels.len()], rest].concat(), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_per_channel_where_pixels_are_equal_or_all_nan() {
        let dims = |pixels: usize, values: &[f64]| {
            bias(&[2, 1, pixels], values).map(|bias| bias.dims().to_vec())
        };
        assert_eq!(dims(3, &[f64::NAN, 1.0]), Ok(vec![2]));
        assert_eq!(dims(2, &[f64::NAN, f64::NAN, 1.0, 1.0]), Ok(vec![2]));
        assert_eq!(dims(2, &[1.0, f64::NAN, 1.0, 1.0]), Ok(vec![2, 1, 2]));
        assert_eq!(dims(2, &[2.0, 1.0, 1.0, 1.0]), Ok(vec![2, 1, 2]));
    }
}
