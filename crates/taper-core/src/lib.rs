//! Basic types of sparse training.
//!
//! All other Taper crates use these types: checked units ([`Sparsity`], [`Step`]), descriptions of prunable layers
//! ([`LayerInfo`]), counts of a mask update ([`MaskFeedback`]), keyed random numbers ([`rng`]), a [`hash`] and the names of the data sets. The crate depends
//! only on the standard library and on `libm`, because mathematical functions of the platform differ between machines.
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
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "test inputs need no fixed bits"))]

mod feedback;
pub mod hash;
mod layer;
pub mod rng;
mod sparsity;
mod step;

pub use feedback::MaskFeedback;
pub use layer::{LayerId, LayerInfo, LayerKind};
pub use sparsity::{Sparsity, SparsityError};
pub use step::Step;

/// The names of the data sets that Taper knows. A data set with another name is a folder of images.
pub const DATASETS: [&str; 3] = ["digits", "cifar10", "cifar100"];

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
