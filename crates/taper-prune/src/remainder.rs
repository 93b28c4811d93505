//! What becomes of pruned weights.

use crate::{DropPolicy, PruneError, PrunedUpdate};
use taper_scale::{Constant, FeatherRule, GradientScale};

/// What becomes of the weights that a mask does not keep.
#[derive(Debug)]
pub struct Remainder {
    /// The share of their gradient that moves their dense values.
    pub gradient: Box<dyn GradientScale>,
    /// When and from what that gradient is computed.
    pub update: PrunedUpdate,
    /// Factor λ, at least 0: `λ·w` is added to their gradient.
    pub decay: f32,
    /// Factor λ, at least 0: `λ·w` is added to the gradient of kept weights, and `λ/D·w` to that of pruned weights that get a
    /// gradient, with D the density of the network.
    pub penalty: f32,
    /// Whether their dense values are 0, without a gradient, and an optimizer forgets what it remembers of them.
    pub is_zero: bool,
    /// Which of them leave for good.
    pub drop: Option<DropPolicy>,
}

impl Default for Remainder {
    /// That of Feather.
    fn default() -> Self {
        Self::alive(FeatherRule)
    }
}

impl Remainder {
    /// Their dense values go on learning, with a share of the gradient.
    pub fn alive(gradient: impl GradientScale + 'static) -> Self {
        let (gradient, update) = (Box::new(gradient), PrunedUpdate::EveryStep);
        Self { gradient, update, decay: 0.0, penalty: 0.0, is_zero: false, drop: None }
    }

    /// Their dense values stay, without a gradient; decay and momentum go on moving them.
    pub fn resting() -> Self {
        Self::alive(constant(0.0))
    }

    /// They are 0, and begin from there if a mask keeps them again.
    ///
    /// # References
    /// SET, RigL, and AC/DC (Peste et al., arXiv:2106.12379).
    pub fn zero() -> Self {
        Self { is_zero: true, ..Self::resting() }
    }

    /// They have their whole gradient, and `λ·w` on top, which pulls them to 0.
    ///
    /// # References
    /// Zhou et al., "Learning N:M fine-grained structured sparse networks" (arXiv:2102.04010), equation 9: SR-STE.
    pub fn decayed(lambda: f32) -> Self {
        Self { decay: lambda, ..Self::alive(constant(1.0)) }
    }

    /// Those nearest to the cut learn, as many as `margin` times the kept ones, and the others rest.
    ///
    /// # References
    /// Jayakumar et al., "Top-KAST" (arXiv:2106.03517), who penalise all that learns; see [`penalty`](Self::penalty).
    pub fn near(margin: f64) -> Self {
        Self { update: PrunedUpdate::Live { margin }, ..Self::alive(constant(1.0)) }
    }

    /// Checks each choice by itself.
    ///
    /// # Errors
    /// [`PruneError`] for one that is out of range.
    pub(crate) fn check(&self) -> Result<(), PruneError> {
        self.update.check()?;
        if let Some(drop) = &self.drop {
            drop.check()?;
        }
        for (what, lambda) in [("decay", self.decay), ("penalty", self.penalty)] {
            if !(lambda >= 0.0 && lambda.is_finite()) {
                let reason = format!("a {what} of {lambda} is not a number of at least 0");
                return Err(PruneError::Update { reason });
            }
        }
        Ok(())
    }
}

/// A constant factor within its range.
fn constant(theta: f32) -> Constant {
    Constant::new(theta).unwrap_or_else(|_| unreachable!("{theta} is in [0, 1]"))
}
