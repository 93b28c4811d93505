//! A learning rate that changes at milestones.

use super::LearningRate;

/// A learning rate that is multiplied by `factor` at each milestone: `lr·factorⁿ` from the step of the n-th milestone
/// on. This is PyTorch's `MultiStepLR`.
///
/// ```
/// use taper_train::{LearningRate, StepDecay};
/// let lr = StepDecay { lr: 1.0, milestones: vec![10, 15], factor: 0.5 };
/// assert_eq!([9, 10, 14, 15].map(|step| lr.at(step)), [1.0, 0.5, 0.5, 0.25]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StepDecay {
    /// Initial learning rate.
    pub lr: f64,
    /// The steps at which the rate changes. A step that occurs twice counts twice.
    pub milestones: Vec<u64>,
    /// Factor on the rate at each milestone.
    pub factor: f64,
}

impl LearningRate for StepDecay {
    fn at(&self, step: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step);
        passed.fold(self.lr, |lr, _| lr * self.factor)
    }
}
