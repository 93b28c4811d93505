//! The graph of a convolutional network: operations, shapes, weights as slices, and metadata.
//!
//! A [`Graph`] is a list of [`Node`]s; each node comes after the nodes that it reads. The first node is the input.
//! Weights are [`Tensor`]s, and operations refer to them by name. Shapes are for one image: the graph has no batch
//! dimension.
//!
//! | module | contents |
//! | --- | --- |
//! | [`interpret`](mod@interpret) | a scalar interpreter, the specification |
//! | [`op`] | operations and their parameters |
//! | [`passes`] | folding of batch norm and constants, fusion, elimination of dead channels |
//! | [`Graph::layers`] | convolutions and linear layers, with their multiply-accumulates |
#![forbid(unsafe_code)]

mod affine;
mod error;
mod graph;
pub mod interpret;
mod layers;
pub mod op;
pub mod passes;
#[cfg(any(test, feature = "random"))]
#[doc(hidden)]
pub mod random;
mod shape;
mod tensor;

pub use affine::Affine;
pub use error::GraphError;
pub use graph::{Graph, Node};
pub use interpret::interpret;
pub use layers::LayerCost;
pub use op::{ActivationFn, Conv, Fused, Norm, Op, Pad, Window};
pub use tensor::Tensor;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
