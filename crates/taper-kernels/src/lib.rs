//! CPU kernels for sparse training and inference, over plain slices.
//!
//! A kernel takes slices, shapes and a few numbers; there are no tensors, files, random numbers or policies here. The
//! scalar functions are the specification; faster variants must agree with them.
//!
//! | module | computes |
//! | --- | --- |
//! | [`threshold`] | the threshold operator T(w; t) and the gradient of its straight-through estimator |
//! | [`select`] | order statistics of magnitudes over several slices, and the thresholds that follow from them |
//! | [`mask`] | packed sets of kept weights: build, count, compare |
//! | [`mod@buffer`] | buffers that are reused |
//! | [`lanes`] | memory layout of the activations of a batch |
//! | [`conv`] | convolution and its two gradients, plain and blocked, dense and sparse |
//! | [`fused`] | batch norm, ReLU and their sums, computed by convolutions while data is in the cache |
//! | [`norm`] | batch norm with ReLU and residual addition, and its gradient |
//! | [`pool`] | average and maximum pooling |
//! | [`loss`] | cross-entropy and its gradient |
//! | [`tree`] | the order of sums over a batch, and shares of a batch |
//! | [`mod@concat`] | concatenation of activations along channels |
//! | [`sgd`], [`adamw`], [`hyperbolic`] | optimizer steps, each in one pass |
//! | [`relu`] | ReLU and its gradient |
//! | [`planes`] | inference of one image: sparse and dense convolution, pooling, activations |
//!
//! The feature `training` is on by default and has all modules except [`planes`]. Without it the crate has no
//! dependencies.
//!
//! Training kernels split their work over rayon's current pool. The split never changes a result: one task computes
//! each output, and sums over a batch follow a tree that depends on the batch alone.
//!
//! ```
//! use taper_kernels::{mask::Mask, select, threshold::Threshold};
//!
//! let weights = [0.5f32, -0.1, 0.3, -0.9];
//! let cut = select::exact(&[&weights], 2);
//! let mask = Mask::above(&weights, cut.at);
//! let mut out = [0.0; 4];
//! Threshold::Hard.forward(&weights, &mask, cut.at, &mut out);
//! assert_eq!(out, [0.5, 0.0, 0.0, -0.9]);
//! ```
#![cfg_attr(
    not(feature = "training"),
    allow(rustdoc::broken_intra_doc_links, reason = "the table above has all modules")
)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "makes inputs; their bits do not matter")
)]

#[cfg(feature = "training")]
pub mod adamw;
#[cfg(all(test, feature = "training"))]
mod bits;
#[cfg(feature = "training")]
pub mod buffer;
#[cfg(feature = "training")]
pub mod concat;
#[cfg(feature = "training")]
pub mod conv;
#[cfg(feature = "training")]
pub mod fused;
#[cfg(feature = "training")]
pub mod hyperbolic;
#[cfg(feature = "training")]
pub mod lanes;
#[cfg(feature = "training")]
pub mod loss;
#[cfg(feature = "training")]
pub mod mask;
#[cfg(feature = "training")]
mod matmul;
#[cfg(feature = "training")]
pub mod norm;
pub mod planes;
#[cfg(feature = "training")]
pub mod pool;
#[cfg(feature = "training")]
pub mod relu;
#[cfg(feature = "training")]
pub mod select;
#[cfg(feature = "training")]
pub mod sgd;
#[cfg_attr(
    not(feature = "training"),
    allow(dead_code, reason = "only training uses every operation on vectors")
)]
mod simd;
#[cfg(feature = "training")]
mod sizes;
#[cfg(feature = "training")]
pub mod threshold;
#[cfg(feature = "training")]
pub mod tree;

pub use simd::{UnknownVariant, Variant};

/// Compiles and runs the README's example.
#[cfg(all(doctest, feature = "training"))]
#[doc = include_str!("../README.md")]
struct Readme;
