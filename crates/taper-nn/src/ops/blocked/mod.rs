//! Layers over activations in the layout of the kernels, with their own backward pass.

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

/// Batches below this are computed image by image: a block of sixteen would be mostly empty.
pub(super) const MIN_BATCH: usize = 8;

/// Gives the memory of buffers that nothing uses now back to the system.
///
/// Activations and their gradients keep their memory for the next step; after training, or between phases of different
/// size, a program may not want to. They serve all passes of the process: a step's gradients are made and dropped by candle,
/// which knows no context.
pub fn release_buffers() {
    taper_kernels::buffer::release();
}
