//! Compiled inference of sparse convolutional networks.
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
pub use taper_graph as graph;
pub use taper_kernels::Variant;
#[cfg(feature = "onnx")]
pub use taper_onnx as onnx;
pub use workspace::Workspace;
