//! Access to the values of CPU tensors as slices.

use candle_core::{CpuStorage, DType, Layout, Result, Tensor};
use std::sync::Once;

/// Whether the kernels support this tensor: f32 on the CPU. Logs a warning for the first tensor on another device.
pub(super) fn has_kernels(tensor: &Tensor) -> bool {
    static NOTE: Once = Once::new();
    if !tensor.device().is_cpu() {
        let device = tensor.device().location();
        NOTE.call_once(|| {
            tracing::warn!("no taper kernels for {device:?}: layers use candle's own operations")
        });
    }
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The values of a contiguous f32 tensor, inside a custom operation.
pub(super) fn slice<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("{op}: the layout {layout:?} is not contiguous")
    };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// The same for writing.
pub(super) fn slice_mut<'a>(
    op: &'static str,
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("{op}: the layout {layout:?} is not contiguous")
    };
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[from..to]),
        _ => candle_core::bail!("{op}: expected f32"),
    }
}
