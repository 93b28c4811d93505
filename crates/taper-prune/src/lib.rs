//! Pruning masks with straight-through gradients.
//!
//! A [`Pruner`] computes what a network needs in each step. It reads the sparsity from its schedule and the number of
//! kept weights of each layer group from its [`Allocation`], and computes the magnitude threshold of each group. It
//! returns [`Gates`](taper_nn::Gates) for the layers: the masks, the operator on kept weights, and the gradient scale
//! of pruned weights. The optimizer updates the dense weights.
//!
//! Models of `taper-nn` layers take the gates in their forward pass. For any other candle model, two calls in the
//! training loop suffice: see [`Pruner::impose`].
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
mod masked_write;
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
