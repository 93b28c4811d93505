//! A cosine learning-rate schedule.

use super::LearningRate;

/// A cosine from `lr` to nearly 0 over the steps of the run.
///
/// ```text
/// j  = max(i − 1, 0)
/// lr_i = lr·(1 + cos(π·j / total)) / 2
/// ```
///
/// The lag of one step is that of Feather's reference implementation: its scheduler runs *after* the optimizer, with
/// the index of the step just done. Steps 0 and 1 therefore both use `lr`.
///
/// ```
/// use taper_train::{Cosine, LearningRate};
/// let lr = Cosine { lr: 0.1, total_steps: 4 };
/// assert_eq!((lr.at(0), lr.at(1)), (0.1, 0.1));
/// assert!((lr.at(3) - 0.05).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    /// Initial learning rate.
    pub lr: f64,
    /// Number of steps of the run.
    pub total_steps: u64,
}

impl LearningRate for Cosine {
    fn at(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1) as f64 / self.total_steps.max(1) as f64;
        self.lr * (1.0 + libm::cos(std::f64::consts::PI * done)) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_near_0() {
        let lr = Cosine { lr: 1.0, total_steps: 100 };
        assert!(lr.at(99) > 0.0 && lr.at(99) < 0.001);
    }
}
