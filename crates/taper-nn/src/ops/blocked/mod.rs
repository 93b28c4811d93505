//! Layers on activations in the layout of the kernels, with their own backward pass.

mod backward;
mod bridge;
pub mod choice;
mod context;
mod gathered;
mod incoming;
mod node;
pub mod profile;
mod rank_share;
mod sampling;
#[cfg(test)]
mod tests;
mod together;

pub use context::KernelContext;
pub use gathered::{gathered, gathered_labels};
pub(crate) use node::{Node, Norm};
pub use sampling::sampled_share;

/// Smaller batches are computed image by image, because a block of sixteen images would be mostly empty.
pub(super) const MIN_BATCH: usize = 8;

/// Returns the memory of unused buffers to the system.
///
/// Buffers of activations and gradients are reused in the next step. Call this function after training, or between
/// phases of different size. All passes of the process share the buffers, because candle creates and drops gradients
/// without a context.
pub fn release_buffers() {
    taper_kernels::buffer::release();
}
