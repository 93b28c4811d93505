//! Linear learning-rate warm-up.

use super::LearningRate;

/// Linear warm-up of another learning-rate schedule:
///
/// ```text
/// lr_i = then_i · min(1, (i + 1) / steps)
/// ```
///
/// ```
/// use taper_train::{ConstantRate, LearningRate, Warmup};
/// let lr = Warmup { steps: 4, then: ConstantRate { lr: 1.0 } };
/// assert_eq!([0, 1, 3, 4].map(|step| lr.at(step)), [0.25, 0.5, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup<L> {
    /// Steps of the warm-up; 0 for none.
    pub steps: u64,
    /// The schedule that is warmed up. It also counts from step 0.
    pub then: L,
}

impl<L: LearningRate> LearningRate for Warmup<L> {
    fn at(&self, step: u64) -> f64 {
        let rate = self.then.at(step);
        if step < self.steps { rate * (step + 1) as f64 / self.steps as f64 } else { rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cosine;

    #[test]
    fn warm_up_scales_the_other_schedule() {
        let plain = Cosine { lr: 1.0, total_steps: 100 };
        let warm = Warmup { steps: 4, then: plain };
        assert_eq!((warm.at(0), warm.at(1)), (0.25, 0.5));
        assert_eq!(warm.at(2), plain.at(2) * 0.75);
        assert_eq!((warm.at(3), warm.at(4)), (plain.at(3), plain.at(4)));
        assert_eq!(Warmup { steps: 0, then: plain }.at(0), 1.0);
    }
}
