//! More gradient close to the cut.

use crate::{GradientScale, Now, OutOfRange, PrunedGrad};

/// Within a step, more gradient for weights close to the cut than for those near zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proximity(PrunedGrad);

impl Proximity {
    /// The factors for a weight of magnitude zero and at the cut, `0 ≤ at_zero ≤ at_cut ≤ 1`.
    ///
    /// # Errors
    /// [`OutOfRange`] if they are not.
    pub fn new(at_zero: f32, at_cut: f32) -> Result<Self, OutOfRange> {
        OutOfRange::factor("θ at the cut", at_cut.into())?;
        let legal = "[0, θ at the cut]";
        OutOfRange::check("θ at zero", at_zero.into(), legal, |v| {
            (0.0..=f64::from(at_cut)).contains(&v)
        })?;
        Ok(Self(PrunedGrad { at_zero, at_cut }))
    }
}

impl GradientScale for Proximity {
    fn at(&self, _now: &Now) -> PrunedGrad {
        self.0
    }
}
