//! Learning-rate schedules.

mod constant;
mod cosine;
mod step_decay;
mod warmup;

pub use constant::ConstantRate;
pub use cosine::Cosine;
pub use step_decay::StepDecay;
pub use warmup::Warmup;

/// A learning-rate schedule.
///
/// A function of the step implements it:
///
/// ```
/// use taper_train::LearningRate;
/// let inverse_root = |step: u64| 0.1 / ((step + 1) as f64).sqrt();
/// assert_eq!((inverse_root.at(0), inverse_root.at(3)), (0.1, 0.05));
/// let in_a_run: Box<dyn LearningRate> = Box::new(inverse_root); // run.learning_rate = …
/// ```
pub trait LearningRate: Send + Sync {
    /// The learning rate of `step`, counted from 0. It must depend only on the step: a resumed run then uses the same
    /// rates.
    fn at(&self, step: u64) -> f64;
}

impl<F: Fn(u64) -> f64 + Send + Sync> LearningRate for F {
    fn at(&self, step: u64) -> f64 {
        self(step)
    }
}
