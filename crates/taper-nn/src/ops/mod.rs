//! Operations with gradients.
//!
//! On the CPU in f32 each function uses `taper-kernels`, otherwise candle's own operations: f64 computes in f64; f16
//! and bf16 compute in f32 and round once. Other types, and inputs of different types, are errors. Tests compare
//! kernels and composed operations. Only this folder contains code that depends on the device.

mod accelerator;
mod activation;
mod adamw;
#[cfg(test)]
mod agreement;
mod blocked;
mod conv;
mod cpu;
mod depthwise;
mod dual;
mod hyperbolic;
mod in_place;
mod loss;
mod norm;
mod pool;
mod relu;
mod sgd;
mod sums;
mod threshold;
mod types;
mod values;
mod weights;

pub use accelerator::accelerator;
pub use activation::{
    Activation, BatchNormed, NormParams, average, batch_norm_eval, batch_norm_train, concat,
    conv2d, global_average, linear, max_pool, relu,
};
pub use adamw::adamw_step;
pub use blocked::{
    KernelContext, choice, gathered, gathered_labels, profile, release_buffers, sampled_share,
};
pub use hyperbolic::hyperbolic_step;
pub use loss::cross_entropy;
pub use norm::indicator;
pub use sgd::{sgd_step, sum_of_squares};
pub use taper_kernels::{
    adamw::AdamWStep, hyperbolic::HyperbolicStep, pool::MaxWindows, sgd::SgdStep,
};
pub use threshold::{flags, threshold, threshold_grad, threshold_ste, threshold_ste_composed};
pub(crate) use types::is_supported;
pub use values::{is_finite, tensor_like, with_values};
pub use weights::Weights;
