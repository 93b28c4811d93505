//! How the share that is swapped goes on.

use std::{f64::consts::PI, fmt, sync::Arc};
use taper_core::Step;

/// How the share that is swapped falls from its first value, where swaps begin, towards their end.
#[derive(Clone, Debug)]
pub enum SwapDecay {
    /// It does not.
    Constant,
    /// `(1 + cos πx) / 2`, to 0.
    Cosine,
    /// `(1 − x)ⁿ`, to 0; n is above 0. RigL calls it `exponential_n`.
    Power(f64),
    /// It is multiplied by a factor in `[0, 1)` at each milestone, from the step of the milestone on, as in MEST.
    Steps {
        /// The factor.
        factor: f64,
        /// The first steps with a lower share.
        milestones: Vec<Step>,
    },
    /// What a function of the step says, clamped to `[0, 1]`: with the learning rate over its first value, RigL's `lr`.
    Along(Factor),
}

impl SwapDecay {
    /// The factor at a step that is a share x of the way, in `[0, 1]`.
    pub(super) fn at(&self, step: Step, x: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine => (1.0 + libm::cos(PI * x)) / 2.0,
            Self::Power(n) => libm::pow(1.0 - x, *n),
            Self::Steps { factor, milestones } => {
                let passed = milestones.iter().filter(|&&milestone| milestone <= step);
                passed.fold(1.0, |share, _| share * factor)
            }
            Self::Along(factor) => match (factor.0)(step) {
                // No number is no share.
                said if said.is_nan() => 0.0,
                said => said.clamp(0.0, 1.0),
            },
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// A sentence: what is out of range, and what the range is.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Power(n) if !(*n > 0.0 && n.is_finite()) => {
                Err(format!("a share that falls with the power {n} is none; give a number above 0"))
            }
            Self::Steps { factor, .. } if !(0.0..1.0).contains(factor) => Err(format!(
                "a share that is multiplied by {factor} at each milestone does not fall; give a factor in [0, 1)"
            )),
            _ => Ok(()),
        }
    }
}

/// A number for each step, which depends on the step alone.
#[derive(Clone)]
pub struct Factor(Arc<dyn Fn(Step) -> f64 + Send + Sync>);

impl Factor {
    /// That of a function.
    ///
    /// ```
    /// use taper_core::Step;
    /// use taper_prune::renewal::{Factor, Renewal, Swap, SwapDecay};
    ///
    /// // A learning rate that falls to a quarter at step 500.
    /// let rate = |step: Step| if step < Step(500) { 0.5 } else { 0.125 };
    /// let decay = SwapDecay::Along(Factor::new(move |step| rate(step) / rate(Step(0))));
    /// let swap = Swap { decay, share: 0.5, ..Swap::default() };
    /// assert_eq!([400, 500].map(|step| swap.swaps(Step(step))), [Some(0.5), Some(0.125)]);
    /// ```
    pub fn new(function: impl Fn(Step) -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(function))
    }
}

impl fmt::Debug for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factor")
    }
}
