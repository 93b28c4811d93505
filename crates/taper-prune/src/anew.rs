//! Weights that are set to new values.

use candle_core::Var;
use taper_kernels::mask::Mask;
use taper_nn::ops::{flags, tensor_like};

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
