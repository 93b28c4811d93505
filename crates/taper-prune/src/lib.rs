//! Pruning masks with straight-through gradients.
//!
//! A [`Pruner`] turns policies into what a network needs in a step. It asks its schedule how sparse to be, its
//! [`Allocation`] how many weights each group of layers keeps, finds the cut of each group, and hands the layers
//! [`Gates`](taper_nn::Gates): the masks, the operator on kept weights, and the share of the gradient that pruned
//! ones receive. The dense weights stay with the optimizer.
//!
//! Models built of `taper-nn` layers take the gates in their forward pass. Any other candle model is pruned
//! between two calls: see [`Pruner::impose`].
//!
//! ```
//! use candle_core::Device;
//! use taper_core::{Sparsity, Step};
//! use taper_nn::{Init, Linear, Scope};
//! use taper_prune::Pruner;
//!
//! let scope = Scope::new(0, &Device::Cpu);
//! Linear::new(&scope.pp("fc"), 10, 10, Init::FanOut)?;
//! let params = scope.finish();
//!
//! let mut pruner = Pruner::feather(params.prunable(), Sparsity::new(0.9)?, 100)?;
//! pruner.begin_step(Step(99))?;
//! assert_eq!(pruner.report().n_kept(), 10);
//! pruner.bake()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod allocation;
mod anew;
mod builder;
mod changed;
mod choices;
mod choose;
mod count;
pub mod criterion;
mod cut;
mod dead;
mod drop;
mod error;
mod gates;
mod grads;
mod history;
mod impose;
mod initial_scale;
mod measure;
mod memory;
pub mod operator;
mod part;
mod prepare;
mod pruner;
mod queries;
mod remainder;
pub mod renewal;
mod report;
mod state;
pub mod structure;
mod swap;
mod together;
mod update;
mod vars;
mod weight;

pub use allocation::Allocation;
pub use builder::PrunerBuilder;
pub use changed::{Changed, Momentum};
pub use cut::Quantile;
pub use dead::DeadFilters;
pub use drop::{DropPolicy, DropRule};
pub use error::PruneError;
pub use history::{Fate, N_AGES, N_DECILES, age_class, least_age};
pub use impose::Imposed;
pub use initial_scale::InitialScale;
pub use measure::{GradientOracle, Measure, Measured, Sample};
pub use part::Part;
pub use pruner::Pruner;
pub use remainder::Remainder;
pub use report::{LayerReport, Report};
pub use state::{ProbeState, PrunerState};
pub use update::PrunedUpdate;
pub use vars::prunable_vars;

#[doc(no_inline)]
pub use candle_core;
#[doc(no_inline)]
pub use taper_core::{Sparsity, Step};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
