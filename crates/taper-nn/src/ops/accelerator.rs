//! What a record says of the accelerator that was computed on.

use candle_core::Device;

/// The name of an accelerator, such as `NVIDIA H100 80GB HBM3`; `None` for the CPU, and with Metal, where the processor's
/// name says it.
///
/// ```
/// assert_eq!(taper_nn::ops::accelerator(&candle_core::Device::Cpu), None);
/// ```
pub fn accelerator(device: &Device) -> Option<String> {
    #[cfg(feature = "cuda")]
    if let Ok(cuda) = device.as_cuda_device() {
        return cuda.cuda_stream().context().name().ok();
    }
    let _ = device;
    None
}
