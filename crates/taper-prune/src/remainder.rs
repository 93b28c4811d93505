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
        Self { gradient, update, decay: 0.0, is_zero: false, drop: None }
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
    /// Jayakumar et al., "Top-KAST" (arXiv:2106.03517).
    pub fn near(margin: f64) -> Self {
        Self { update: PrunedUpdate::Live { margin }, ..Self::alive(constant(1.0)) }
    }

    /// Checks the choices, by themselves and with each other.
    ///
    /// # Errors
    /// [`PruneError`] for one that is out of range, or for drops and gradients of weights that are 0 anyway.
    pub(crate) fn check(&self) -> Result<(), PruneError> {
        self.update.check()?;
        if let Some(drop) = &self.drop {
            drop.check()?;
        }
        if !(self.decay >= 0.0 && self.decay.is_finite()) {
            let reason = format!("a decay of {} is not a number of at least 0", self.decay);
            return Err(PruneError::Update { reason });
        }
        if self.is_zero && (self.drop.is_some() || self.update != PrunedUpdate::EveryStep) {
            let reason = "pruned weights that are 0 have none, and none of them can be dropped; leave one of the two out";
            return Err(PruneError::Update { reason: reason.into() });
        }
        Ok(())
    }
}

/// A constant factor within its range.
fn constant(theta: f32) -> Constant {
    Constant::new(theta).unwrap_or_else(|_| unreachable!("{theta} is in [0, 1]"))
}
