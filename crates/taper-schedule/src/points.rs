//! Piecewise-linear sparsity between points.

use crate::{ClosedForm, PointsError, closed_form::closed_form_is_schedule};
use taper_core::{Sparsity, Step};

/// Piecewise-linear sparsity through points (step, sparsity): 0 before the first point, and the last sparsity from the
/// last point on.
///
/// ```
/// use taper_core::{Sparsity, Step};
/// use taper_schedule::{Points, SparsitySchedule};
///
/// let s = |value| Sparsity::saturating(value);
/// let points = Points::new(vec![(Step(10), s(0.5)), (Step(20), s(0.9))]).unwrap();
/// assert_eq!([9, 10, 15, 20].map(|t| points.sparsity(Step(t)).get()), [0.0, 0.5, 0.7, 0.9]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Points(Vec<(Step, Sparsity)>);

impl Points {
    /// A schedule through these points.
    ///
    /// # Errors
    /// [`PointsError`] if there are no points, steps do not increase, or the sparsity falls.
    pub fn new(points: Vec<(Step, Sparsity)>) -> Result<Self, PointsError> {
        if points.is_empty() {
            return Err(PointsError("there are no points".into()));
        }
        for pair in points.windows(2) {
            let [(before, low), (step, high)] = [pair[0], pair[1]];
            if step <= before {
                return Err(PointsError(format!("step {step} is not after step {before}")));
            }
            if high < low {
                let (low, high) = (low.get(), high.get());
                return Err(PointsError(format!(
                    "sparsity falls from {low} to {high} at step {step}"
                )));
            }
        }
        Ok(Self(points))
    }
}

closed_form_is_schedule!(Points);

impl ClosedForm for Points {
    fn at(&self, time: f64) -> Sparsity {
        let next = self.0.partition_point(|(step, _)| step.0 as f64 <= time);
        match (next.checked_sub(1).map(|i| self.0[i]), self.0.get(next)) {
            (None, _) => Sparsity::DENSE,
            (Some((_, sparsity)), None) => sparsity,
            (Some((from, low)), Some(&(to, high))) => {
                let x = (time - from.0 as f64) / (to.0 - from.0) as f64;
                let (low, high) = (low.get(), high.get());
                // Rounding must not push a value past either end.
                Sparsity::saturating((low + (high - low) * x).clamp(low, high))
            }
        }
    }

    fn begin(&self) -> Step {
        self.0[0].0
    }

    fn end(&self) -> Step {
        self.0[self.0.len() - 1].0
    }

    fn last(&self) -> Sparsity {
        self.0[self.0.len() - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_make_no_schedule_are_refused() {
        let error = |points: Vec<(u64, f64)>| {
            let points =
                points.into_iter().map(|(t, v)| (Step(t), Sparsity::saturating(v))).collect();
            Points::new(points).unwrap_err().to_string()
        };
        assert_eq!(error(vec![]), "there are no points");
        assert_eq!(error(vec![(3, 0.1), (3, 0.2)]), "step 3 is not after step 3");
        assert_eq!(error(vec![(3, 0.2), (5, 0.1)]), "sparsity falls from 0.2 to 0.1 at step 5");
    }
}
