//! How pruned weights are treated.

use crate::{DropPolicy, PruneError, PrunedUpdate};
use taper_scale::{Constant, FeatherRule, GradientScale};

/// How the weights that a mask does not keep are treated.
#[derive(Debug)]
pub struct Remainder {
    /// Scale of the gradient that updates their dense values.
    pub gradient: Box<dyn GradientScale>,
    /// When and from what that gradient is computed.
    pub update: PrunedUpdate,
    /// Factor λ, at least 0: `λ·w` is added to their gradient.
    pub decay: f32,
    /// Factor λ, at least 0: `λ·w` is added to the gradient of kept weights, and `λ/D·w` to the gradient of live pruned
    /// weights, with D the density of the network.
    pub penalty: f32,
    /// Whether their dense values are 0 without a gradient, and the optimizer resets its state for them.
    pub is_zero: bool,
    /// Which of them become permanently pruned.
    pub drop: Option<DropPolicy>,
}

impl Default for Remainder {
    /// As in Feather.
    fn default() -> Self {
        Self::alive(FeatherRule)
    }
}

impl Remainder {
    /// Pruned weights keep a dense value, which learns with a scaled gradient.
    pub fn alive(gradient: impl GradientScale + 'static) -> Self {
        let (gradient, update) = (Box::new(gradient), PrunedUpdate::EveryStep);
        Self { gradient, update, decay: 0.0, penalty: 0.0, is_zero: false, drop: None }
    }

    /// Pruned weights keep a dense value without a gradient; weight decay and momentum still change it.
    pub fn resting() -> Self {
        Self::alive(constant(0.0))
    }

    /// Pruned weights are 0, and start from 0 if a mask keeps them again.
    ///
    /// # References
    /// SET, RigL, and AC/DC (Peste et al., arXiv:2106.12379).
    pub fn zero() -> Self {
        Self { is_zero: true, ..Self::resting() }
    }

    /// Pruned weights receive their full gradient plus `λ·w`, which pulls them to 0.
    ///
    /// # References
    /// Zhou et al., "Learning N:M fine-grained structured sparse networks" (arXiv:2102.04010), equation 9: SR-STE.
    pub fn decayed(lambda: f32) -> Self {
        Self { decay: lambda, ..Self::alive(constant(1.0)) }
    }

    /// The pruned weights closest to the threshold learn: `margin` times the number of kept weights. The other pruned
    /// weights receive no gradient.
    ///
    /// # References
    /// Jayakumar et al., "Top-KAST" (arXiv:2106.03517), who penalise all weights that learn; see
    /// [`penalty`](Self::penalty).
    pub fn near(margin: f64) -> Self {
        Self { update: PrunedUpdate::Live { margin }, ..Self::alive(constant(1.0)) }
    }

    /// Checks each choice separately.
    ///
    /// # Errors
    /// [`PruneError`] if a choice is out of range.
    pub(crate) fn check(&self) -> Result<(), PruneError> {
        self.update.check()?;
        if let Some(drop) = &self.drop {
            drop.check()?;
        }
        for (what, lambda) in [("decay", self.decay), ("penalty", self.penalty)] {
            if !(lambda >= 0.0 && lambda.is_finite()) {
                let reason = format!("the {what} is {lambda}, outside [0, inf)");
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
