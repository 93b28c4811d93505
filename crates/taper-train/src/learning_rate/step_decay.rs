//! A rate that falls at milestones.

use super::LearningRate;

/// A rate that is multiplied by a factor at each milestone: lr·factorⁿ after n of them, from the step of the milestone on.
/// PyTorch calls it `MultiStepLR`.
///
/// ```
/// use taper_train::{LearningRate, StepDecay};
/// let lr = StepDecay { lr: 1.0, milestones: vec![10, 15], factor: 0.5 };
/// assert_eq!([9, 10, 14, 15].map(|step| lr.at(step)), [1.0, 0.5, 0.5, 0.25]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StepDecay {
    /// Rate at the start.
    pub lr: f64,
    /// The first steps with a lower rate. A step that is there twice counts twice.
    pub milestones: Vec<u64>,
    /// What the rate is multiplied by.
    pub factor: f64,
}

impl LearningRate for StepDecay {
    fn at(&self, step: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step);
        passed.fold(self.lr, |lr, _| lr * self.factor)
    }
}
