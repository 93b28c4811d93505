//! Policies that scale the gradient of pruned weights.
//!
//! The straight-through estimator passes the gradient of the pruned weight to the dense one, as if the weight had not
//! been pruned. A [`GradientScale`] scales this gradient for *pruned* weights. Once per step it returns a
//! [`PrunedGrad`]: two factors, for weights at magnitude 0 and at the threshold. Kept weights always receive their full
//! gradient.
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

/// Factor on the gradient of a pruned weight, linear in `min(|w| / threshold, 1)` between the two fields.
///
/// Both fields are in `[0, 1]`. Equal values give every pruned weight the same factor: Feather's θ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrunedGrad {
    /// Factor for a weight of magnitude zero.
    pub at_zero: f32,
    /// Factor for a weight whose magnitude is the threshold.
    pub at_cut: f32,
}

impl PrunedGrad {
    /// The full gradient: the plain straight-through estimator.
    pub const STE: Self = Self::uniform(1.0);
    /// No gradient: classic hard pruning.
    pub const NONE: Self = Self::uniform(0.0);

    /// The same factor for every pruned weight.
    pub const fn uniform(theta: f32) -> Self {
        Self { at_zero: theta, at_cut: theta }
    }
}

/// The state of training that a policy may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Sparsity imposed in this step, of the network or of one layer.
    pub achieved: Sparsity,
    /// Sparsity at the end of training.
    pub target: Sparsity,
    /// Fraction of the training steps already done, in `[0, 1]`.
    pub progress: f64,
}

/// A policy for the gradient of pruned weights.
pub trait GradientScale: Debug + Send + Sync {
    /// The factors for this step. Repeated calls return the same value.
    fn at(&self, now: &Now) -> PrunedGrad;

    /// Whether [`at`](Self::at) is called for each layer, with the sparsity of that layer, instead of once for all.
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
