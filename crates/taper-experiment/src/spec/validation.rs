//! The key `train.validation`.

/// Number of validation images for a value of `train.validation`, of `n` training images; `None` without such images.
pub(super) fn n_held_out(validation: f64, n: usize) -> Option<usize> {
    match validation {
        v if v.is_nan() || v <= 0.0 => None,
        v if v < 1.0 => Some((v * n as f64).round() as usize),
        v => Some(v as usize),
    }
}
