//! Compiled inference of sparse convolutional networks on CPUs.
//!
//! [`Engine::compile`] makes of a [`graph::Graph`] a list of steps on one stretch of memory, and [`Engine::run`] computes the
//! results of images with it. Weights that are 0 are neither stored nor multiplied.
//!
//! | item | what |
//! | --- | --- |
//! | [`graph`] | the network: operations, weights, shapes; `taper-graph` |
//! | `onnx` | opens ONNX files as graphs; `taper-onnx`, with the feature `onnx`, which is on by default |
//! | [`Options`] | batch, threads, instruction set |
//! | [`Engine`] | a compiled network, which threads may share |
//! | [`Workspace`] | memory and threads of one run at a time |
//! | [`Plan`] | the steps with kernel, non-zeros, bytes and, if measured, time |
//!
//! # How a network is computed
//!
//! Compiling folds batch norm into convolutions, fuses bias, activation and residual addition with them, and eliminates
//! channels that reach no output or are constant. A run computes image by image: planes of pixels lie in one arena with the
//! columns of a row in the lanes of vectors, and each non-zero weight multiplies a tile of its plane. Values that are not
//! needed at the same time share memory. The images of a batch are split over threads, so a single image is computed by one.
//!
//! Results are those of [`graph::interpret`](taper_graph::interpret()) up to rounding. Denormal numbers, which many
//! machines compute with slowly, are 0 in images, in weights, and in the results of every layer.
//!
//! A value of a network has at most 2²⁰ channels and 2²⁷ elements for one image, all values together have at most 2²²
//! channels, and those that are needed at a time take at most 4 GiB. A convolution reads pixels at most 1024 columns away.
//!
//! Convolutions of which more than 60 % of the weights are not 0 may multiply all of them, and so may depthwise ones with a
//! stride of 2 or on planes of so few pixels that they are one vector. A weight of 0 that is left out contributes nothing
//! where a pixel is infinite or NaN; in ONNX the product is NaN. A rule decides which weights are left out, never a
//! measurement: kernels that multiply zeros compete with others for weights without zeros alone.
//!
//! # Errors
//!
//! Each function that can fail gives an [`InferError`], whose text is one sentence: the graph is not valid or has a shape
//! that the engine lacks, an option is outside of its range, the system refuses a thread, or images do not have the network's
//! size.
//!
//! # Determinism
//!
//! The result for an image has the same bits in any batch, for any number of threads, and with each instruction set but for
//! means over whole planes, and for products of zeros with pixels that are infinite or NaN. Kernels of convolutions are chosen by timing them, or by rule with [`Options::deterministic`].
//! An engine that is compiled again may thus have other kernels, but gives the same bits.
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
