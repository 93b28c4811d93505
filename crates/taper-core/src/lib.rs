//! Vocabulary of sparse training.
//!
//! This crate holds the words that the other taper crates speak to each other: checked units
//! ([`Sparsity`], [`Step`]), descriptions of prunable layers ([`LayerInfo`]), what a mask refresh looked like
//! ([`MaskFeedback`]), and the one source of randomness ([`rng`]). It depends on the standard library alone, and on `libm`, as
//! the mathematical functions of the platform are not the same everywhere.
//!
//! ```
//! use taper_core::Sparsity;
//!
//! let sparsity = Sparsity::new(0.95)?;
//! assert_eq!(sparsity.n_kept(1000), 50);
//! assert!(Sparsity::new(1.2).is_err());
//! # Ok::<(), taper_core::SparsityError>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "makes inputs, and wants no bits"))]

mod feedback;
mod layer;
pub mod rng;
mod sparsity;
mod step;

pub use feedback::MaskFeedback;
pub use layer::{LayerId, LayerInfo, LayerKind};
pub use sparsity::{Sparsity, SparsityError};
pub use step::Step;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
