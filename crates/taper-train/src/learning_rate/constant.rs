//! The same rate in every step.

use super::LearningRate;

/// The same rate in every step.
///
/// ```
/// use taper_train::{Constant, LearningRate};
/// assert_eq!(Constant { lr: 0.1 }.at(1000), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// The rate.
    pub lr: f64,
}

impl LearningRate for Constant {
    fn at(&self, _step: u64) -> f64 {
        self.lr
    }
}
