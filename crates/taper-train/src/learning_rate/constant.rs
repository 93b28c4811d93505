//! A constant learning rate.

use super::LearningRate;

/// A constant learning rate.
///
/// ```
/// use taper_train::{ConstantRate, LearningRate};
/// assert_eq!(ConstantRate { lr: 0.1 }.at(1000), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstantRate {
    /// The learning rate.
    pub lr: f64,
}

impl LearningRate for ConstantRate {
    fn at(&self, _step: u64) -> f64 {
        self.lr
    }
}
