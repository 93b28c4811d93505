//! Candle operations with gradients, over the kernels where the device has them.
//!
//! Each function computes on the CPU in f32 through `taper-kernels`, and everywhere else through candle's own
//! operations, which the tests use as oracle. This folder is the only place that may know devices.

mod conv;
mod cpu;
mod norm;
mod relu;
mod threshold;
mod values;

pub use conv::{conv2d, linear};
pub use norm::{BatchNormed, batch_norm_train, indicator};
pub use relu::relu;
pub use threshold::{threshold_ste, threshold_ste_composed};
pub use values::{is_finite, with_values};
