//! Decay of the prune-and-regrow fraction.

use std::{f64::consts::PI, fmt, sync::Arc};
use taper_core::Step;

/// How the prune-and-regrow fraction falls from its first value; x is the relative position of a step between the start
/// and the end of prune-and-regrow, in `[0, 1]`.
#[derive(Clone, Debug)]
pub enum SwapDecay {
    /// No decay.
    Constant,
    /// `(1 + cos πx) / 2`, to 0.
    Cosine,
    /// `(1 − x)ⁿ`, to 0; n is above 0. This is RigL's `exponential_n`.
    Power(f64),
    /// Multiplied by a factor in `[0, 1)` at each milestone, from the step of the milestone on, as in MEST.
    Steps {
        /// The factor.
        factor: f64,
        /// The first steps with a lower fraction.
        milestones: Vec<Step>,
    },
    /// A function of the step, clamped to `[0, 1]`. With the learning rate divided by its first value, this is RigL's
    /// `lr`.
    Along(Factor),
}

impl SwapDecay {
    /// The factor at a step with relative position x.
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
                // NaN counts as 0.
                said if said.is_nan() => 0.0,
                said => said.clamp(0.0, 1.0),
            },
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// A message: which parameter is out of range, and its legal range.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Power(n) if !(*n > 0.0 && n.is_finite()) => Err(format!(
                "the power of the prune-and-regrow decay is {n}; give a number above 0"
            )),
            Self::Steps { factor, .. } if !(0.0..1.0).contains(factor) => Err(format!(
                "the prune-and-regrow fraction is multiplied by {factor} at each milestone; give a factor in [0, 1)"
            )),
            _ => Ok(()),
        }
    }
}

/// A number for each step that depends only on the step.
#[derive(Clone)]
pub struct Factor(Arc<dyn Fn(Step) -> f64 + Send + Sync>);

impl Factor {
    /// Wraps a function.
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
