//! The name of an accelerator, for the records of runs.

use candle_core::Device;

/// The name of an accelerator, for example `NVIDIA H100 80GB HBM3`. `None` for the CPU, and for Metal, where the name
/// of the processor identifies it.
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
