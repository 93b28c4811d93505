//! Closed forms in sequence.

use crate::{ClosedForm, PointsError, closed_form::closed_form_is_schedule};
use std::sync::Arc;
use taper_core::{Sparsity, Step};

/// Several closed forms in sequence: each applies from its step to the step at which the next one starts, and its value
/// there counts as reached. The sparsity never falls: while a part is below the sparsity that was reached before it,
/// that sparsity is kept.
#[derive(Clone, Debug)]
pub struct Joined(Vec<(Step, Arc<dyn ClosedForm>)>);

impl Joined {
    /// Joins `parts`, each with its first step. The first part applies from the start, whatever its step.
    ///
    /// # Errors
    /// [`PointsError`] if there are no parts, or steps do not increase.
    pub fn new(parts: Vec<(Step, Arc<dyn ClosedForm>)>) -> Result<Self, PointsError> {
        if parts.is_empty() {
            return Err(PointsError("there are no parts".into()));
        }
        for pair in parts.windows(2) {
            let (before, step) = (pair[0].0, pair[1].0);
            if step <= before {
                return Err(PointsError(format!("step {step} is not after step {before}")));
            }
        }
        Ok(Self(parts))
    }
}

closed_form_is_schedule!(Joined);

impl ClosedForm for Joined {
    fn at(&self, time: f64) -> Sparsity {
        let mut reached = Sparsity::DENSE;
        for (i, (step, part)) in self.0.iter().enumerate() {
            if i > 0 && time < step.0 as f64 {
                break;
            }
            let until = self.0.get(i + 1).map_or(time, |(next, _)| time.min(next.0 as f64));
            let value = part.at(until);
            reached = if value > reached { value } else { reached };
        }
        reached
    }

    fn begin(&self) -> Step {
        // A part prunes from its own begin, but not before its step; the first part applies from the start.
        let begins = self.0.iter().enumerate().map(|(i, (step, part))| match i {
            0 => part.begin(),
            _ => part.begin().max(*step),
        });
        begins.min().unwrap_or(Step::ZERO)
    }

    fn end(&self) -> Step {
        let (step, part) = &self.0[self.0.len() - 1];
        part.end().max(*step)
    }

    fn last(&self) -> Sparsity {
        self.at(self.end().0 as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Curve, Points, Ramp, SparsitySchedule};
    use proptest::prelude::*;

    fn s(value: f64) -> Sparsity {
        Sparsity::saturating(value)
    }

    #[test]
    fn parts_take_over_at_their_steps_and_nothing_falls() {
        let linear = |from, to, end| {
            Arc::new(Ramp::new(Curve::Linear, Step(from), Step(to), s(end))) as Arc<dyn ClosedForm>
        };
        // At step 8 the second part is below the first.
        let parts = vec![(Step(0), linear(0, 10, 0.5)), (Step(8), linear(8, 18, 0.9))];
        let joined = Joined::new(parts).unwrap();
        let at = |t: u64| joined.sparsity(Step(t)).get();
        assert_eq!([at(0), at(4), at(8), at(12)], [0.0, 0.2, 0.4, 0.4]);
        assert!((at(13) - 0.45).abs() < 1e-12);
        assert_eq!((at(18), at(99), joined.end()), (0.9, 0.9, Step(18)));
        assert_eq!(joined.begin(), Step(0));
        assert_eq!(
            Points::new(vec![(Step(5), s(0.5)), (Step(9), s(0.9))]).unwrap().begin(),
            Step(5)
        );
        // The second part begins before the first would.
        let points = Points::new(vec![(Step(5), s(0.5)), (Step(30), s(0.9))]).unwrap();
        let early = vec![(Step(0), linear(10, 20, 0.5)), (Step(5), Arc::new(points))];
        assert_eq!(Joined::new(early).unwrap().begin(), Step(5));
        assert!(Joined::new(vec![]).is_err());
        let twice = vec![(Step(2), linear(0, 1, 0.5)), (Step(2), linear(0, 1, 0.5))];
        assert!(Joined::new(twice).is_err());
    }

    proptest! {
        #[test]
        fn sparsity_never_falls_nor_passes_the_target(
            values in prop::collection::vec((1u64..20, 0.0..=1.0f64), 1..6), switch in 1u64..40, t in 0.0..150.0f64,
        ) {
            let mut sorted: Vec<f64> = values.iter().map(|v| v.1).collect();
            sorted.sort_by(f64::total_cmp);
            let steps = values.iter().scan(0, |at, (gap, _)| { *at += gap; Some(Step(*at)) });
            let points = Points::new(steps.zip(sorted.into_iter().map(s)).collect()).unwrap();
            let ramp = Ramp::new(Curve::Cubic, Step(5), Step(30), s(values[0].1));
            let parts: Vec<(Step, Arc<dyn ClosedForm>)> =
                vec![(Step(0), Arc::new(ramp)), (Step(switch), Arc::new(points.clone()))];
            let joined = Joined::new(parts).unwrap();
            for form in [&points as &dyn ClosedForm, &joined] {
                let (now, next) = (form.at(t), form.at(t + 0.7));
                prop_assert!(now <= next && next <= form.last());
                prop_assert_eq!(form.at(form.end().0 as f64), form.last());
            }
        }
    }
}
