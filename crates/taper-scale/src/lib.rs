//! How much gradient a pruned weight receives.
//!
//! A straight-through estimator hands the gradient of the pruned weight to the dense one as if nothing had
//! been cut. How much of it a *pruned* weight should receive is a policy: a [`GradientScale`] is asked once per
//! step and answers with two numbers, a [`PrunedGrad`]. Kept weights always receive their whole gradient.
//!
//! ```
//! use taper_core::Sparsity;
//! use taper_scale::{FeatherRule, GradientScale, Now, PrunedGrad};
//!
//! let now = |target| Now { achieved: Sparsity::DENSE, target: Sparsity::new(target).unwrap(), progress: 0.0 };
//! assert_eq!(FeatherRule.at(&now(0.95)), PrunedGrad::STE);
//! assert_eq!(FeatherRule.at(&now(0.98)), PrunedGrad::uniform(0.5));
//! ```
#![forbid(unsafe_code)]

mod constant;
mod density;
mod falling;
mod feather_rule;
mod name;
mod per_layer;
mod proximity;
mod range;

pub use constant::Constant;
pub use density::Density;
pub use falling::{Fall, Falling, Over};
pub use feather_rule::FeatherRule;
pub use name::{NameError, by_name};
pub use per_layer::PerLayer;
pub use proximity::Proximity;
pub use range::OutOfRange;
#[doc(no_inline)]
pub use taper_core::{Sparsity, SparsityError};

use std::fmt::Debug;

/// Factor on the gradient of a pruned weight, linear in `min(|w| / cut, 1)` between its two ends.
///
/// Both ends lie in `[0, 1]`. Equal ends give every pruned weight the same factor, which is Feather's θ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrunedGrad {
    /// Factor for a weight of magnitude zero.
    pub at_zero: f32,
    /// Factor for a weight whose magnitude is the cut.
    pub at_cut: f32,
}

impl PrunedGrad {
    /// The whole gradient: the plain straight-through estimator.
    pub const STE: Self = Self::uniform(1.0);
    /// No gradient: classic hard pruning.
    pub const NONE: Self = Self::uniform(0.0);

    /// The same factor for every pruned weight.
    pub const fn uniform(theta: f32) -> Self {
        Self { at_zero: theta, at_cut: theta }
    }
}

/// What a policy may look at: where training is, in fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Sparsity imposed in this step, of the network or of a layer.
    pub achieved: Sparsity,
    /// Sparsity at the end of training.
    pub target: Sparsity,
    /// Share of the training steps already done, in `[0, 1]`.
    pub progress: f64,
}

/// A policy for the gradient of pruned weights.
pub trait GradientScale: Debug + Send + Sync {
    /// The factors for this step. A query: asking twice gives the same answer.
    fn at(&self, now: &Now) -> PrunedGrad;

    /// Whether it is asked for each layer, with the sparsity of that layer, rather than once for all.
    fn is_per_layer(&self) -> bool {
        false
    }
}

impl<S: GradientScale + ?Sized> GradientScale for Box<S> {
    fn at(&self, now: &Now) -> PrunedGrad {
        (**self).at(now)
    }

    fn is_per_layer(&self) -> bool {
        (**self).is_per_layer()
    }
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
