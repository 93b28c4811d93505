//! Compiled inference of sparse convolutional networks on CPUs.
//!
//! [`Engine::compile`] turns a [`graph::Graph`] into a list of steps on one block of memory, and [`Engine::run`]
//! computes the results for images. Weights of 0 are neither stored nor multiplied.
//!
//! | item | content |
//! | --- | --- |
//! | [`graph`] | the network: operations, weights, shapes; `taper-graph` |
//! | `onnx` | opens ONNX files as graphs; `taper-onnx`, with the feature `onnx` (default) |
//! | [`Options`] | batch, threads, instruction set |
//! | [`Engine`] | a compiled network; threads may share it |
//! | [`Workspace`] | memory and threads of one run at a time |
//! | [`Plan`] | the steps with kernel, non-zeros, bytes and, if measured, time |
//!
//! # How a network is computed
//!
//! Compiling folds batch norm into convolutions, fuses bias, activation and residual addition with them, and eliminates
//! channels that are constant or do not reach the output. A run computes image by image. The planes of all values are
//! in one arena; consecutive columns of a row are the SIMD lanes of a vector. Each non-zero weight multiplies a tile of
//! a plane. Values that are not needed at the same time share memory. Threads share the images of a batch, so one
//! thread computes a single image.
//!
//! Results equal those of [`graph::interpret`](taper_graph::interpret()) up to rounding. Denormal numbers are slow on
//! many machines. They become 0 in images, in weights, and in the results of every layer.
//!
//! Limits: a value of a network has at most 2²⁰ channels and 2²⁷ elements for one image. All values together have at
//! most 2²² channels. Values that are needed at the same time take at most 4 GiB. A convolution reads pixels at most
//! 1024 columns away.
//!
//! Some layers may multiply their zeros: convolutions with more than 60 % non-zero weights, and depthwise convolutions
//! with stride 2 or on planes that fit one vector. A skipped weight of 0 contributes nothing where a pixel is infinite
//! or NaN; in ONNX the product is NaN. A rule decides which weights are skipped, never a timing: kernels that multiply
//! zeros and kernels that skip them compete only for layers without zeros.
//!
//! # Errors
//!
//! Functions that can fail return an [`InferError`] with a message of one sentence. Reasons: the graph is not valid or
//! not supported, an option is outside its range, the system cannot start a thread, or images do not have the network's
//! size.
//!
//! # Determinism
//!
//! The result for an image is bit-identical in any batch and for any number of threads. It is also bit-identical on all
//! instruction sets, except for means over whole planes, and for products of zeros with pixels that are infinite or
//! NaN. Kernels of convolutions are chosen by timing, or by rule with [`Options::deterministic`]. A second compilation
//! may therefore choose other kernels, but the bits are the same.
//!
//! ```
//! use taper_infer::{Engine, Options, graph::{ActivationFn, Graph, Op}};
//!
//! let mut graph = Graph::new(&[1, 2, 2]);
//! graph.output = graph.push(Op::Activation(ActivationFn::Relu), &[Graph::INPUT])?;
//! let engine = Engine::compile(&graph, &Options { batch: 2, ..Options::default() })?;
//! assert_eq!(engine.run(&[1.0, -1.0, 0.5, -0.5])?, [1.0, 0.0, 0.5, 0.0]);
//! assert!(engine.run(&[1.0]).is_err(), "an image has four pixels");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod arena;
mod choose;
mod compile;
mod conv;
mod draft;
mod engine;
mod error;
mod lower;
mod memory;
mod options;
mod pack;
mod place;
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

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the code of the book.
#[cfg(all(doctest, feature = "onnx"))]
#[doc = include_str!("../../../docs/src/deploy.md")]
struct Book;
