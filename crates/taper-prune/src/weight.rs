//! Requirements on the weights of a pruner.

use crate::error::PruneError;
use candle_core::{DType, Var};
use taper_core::{LayerInfo, LayerKind};

/// Data types that can be pruned. Weights are ranked by their magnitude in f32; everything else is computed in their
/// type.
pub(crate) fn is_prunable(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::BF16 | DType::F16)
}

/// Checks each weight against its description, and that no variable occurs twice.
///
/// # Errors
/// [`PruneError::Weight`] or [`PruneError::Tied`].
pub(crate) fn check(layers: &[(LayerInfo, Var)]) -> Result<(), PruneError> {
    for (i, (info, var)) in layers.iter().enumerate() {
        let refuse = |reason| Err(PruneError::Weight { name: info.name.clone(), reason });
        if let Some((other, _)) = layers[..i].iter().find(|(_, other)| other.id() == var.id()) {
            let (first, second) = (other.name.clone(), info.name.clone());
            return Err(PruneError::Tied { first, second });
        }
        if !is_prunable(var.dtype()) {
            let dtype = var.dtype().as_str();
            return refuse(format!("its type is {dtype}; it must be f32, f64, bf16 or f16"));
        }
        if info.shape != var.dims() {
            let (said, found) = (&info.shape, var.dims());
            return refuse(format!(
                "its description has shape {said:?}, but its variable has shape {found:?}"
            ));
        }
        if let LayerKind::ConvTranspose { groups } = info.kind {
            let n = info.shape.first().copied().unwrap_or(0);
            if groups == 0 || !n.is_multiple_of(groups) {
                return refuse(format!("{groups} groups do not divide its {n} input channels"));
            }
        }
    }
    Ok(())
}
