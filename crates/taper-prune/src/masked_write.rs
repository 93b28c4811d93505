//! Writes to the weights of a mask.

use candle_core::{DType, Var};
use taper_kernels::mask::Mask;
use taper_nn::ops::{flags, tensor_like, with_values};

/// Sets the weights of a mask to these values, in index order. All other weights stay bit-identical.
pub(crate) fn set_where(mask: &Mask, values: &[f32], var: &Var) -> candle_core::Result<()> {
    if mask.n_kept() == 0 {
        return Ok(());
    }
    let dense = var.as_detached_tensor();
    let mut all = vec![0.0; mask.len()];
    mask.kept().zip(values).for_each(|(index, value)| all[index] = *value);
    var.set(&flags(mask, &dense)?.where_cond(&tensor_like(all, &dense)?, &dense)?)
}

/// Sets the weights of a mask to 0. All other weights stay bit-identical.
pub(crate) fn zero_where(mask: &Mask, var: &Var) -> candle_core::Result<()> {
    let are_zero = |w: &[&[f32]]| mask.kept().all(|index| w[0][index] == 0.0);
    // A value that rounds to 0 in f32 may not be 0 in f64.
    if var.dtype() != DType::F64 && with_values(&[var.as_tensor()], are_zero)? {
        return Ok(());
    }
    let dense = var.as_detached_tensor();
    var.set(&flags(mask, &dense)?.where_cond(&dense.zeros_like()?, &dense)?)
}
