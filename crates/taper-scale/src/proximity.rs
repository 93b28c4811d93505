//! More gradient near the magnitude threshold.

use crate::{GradientScale, Now, OutOfRange, PrunedGrad};

/// More gradient for pruned weights near the magnitude threshold than for those near zero; constant in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proximity(PrunedGrad);

impl Proximity {
    /// Factors for a weight at magnitude zero and at the threshold, `0 ≤ at_zero ≤ at_cut ≤ 1`.
    ///
    /// # Errors
    /// [`OutOfRange`] if a factor is outside this range.
    pub fn new(at_zero: f32, at_cut: f32) -> Result<Self, OutOfRange> {
        OutOfRange::factor("θ at the threshold", at_cut.into())?;
        let legal = "[0, θ at the threshold]";
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
