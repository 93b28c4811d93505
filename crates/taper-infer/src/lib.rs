//! Compiled inference of sparse convolutional networks.
//!
//! Results are those of [`taper_graph::interpret`](taper_graph::interpret()) up to rounding, for the same image to the bit
//! in any batch and on any number of threads. NaN and infinity pass as in IEEE arithmetic. A weight of 0 takes no part where
//! a layer is computed sparse; where one is computed dense, 0 times infinity or NaN is NaN. Denormal numbers are computed
//! with.
//!
//! A value of a network has at most 2²⁴ channels and 2²⁷ elements for one image, and all values that are needed at a time
//! take at most 4 GiB.
#![forbid(unsafe_code)]

mod compile;
mod draft;
mod engine;
mod error;
mod lower;
mod memory;
mod options;
mod plan;
mod step;
mod value;
mod workspace;

pub use engine::Engine;
pub use error::InferError;
pub use options::Options;
pub use plan::{LayerPlan, Plan};
pub use taper_kernels::Variant;
pub use workspace::Workspace;
