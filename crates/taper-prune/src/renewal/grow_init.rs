//! Initial value and momentum of regrown weights.

use taper_core::{LayerId, Step, rng::Rng};
use taper_kernels::mask::Mask;

/// Initial value and momentum of regrown weights; the value is divided by [`divisor`](Self::divisor).
///
/// A weight that is pruned and regrown in the same update keeps its value and momentum.
///
/// # References
/// `grow_init` and `rigl_acc_scale` of RigL's code (arXiv:1911.11134); the papers start from 0 without momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GrowInit {
    /// The value.
    pub value: InitialValue,
    /// Divisor of the value, above 0.
    pub divisor: f32,
    /// Momentum as a multiple of the gradient of the step, at least 0. Under a constant gradient, SGD with momentum μ
    /// converges to 1/(1 − μ).
    pub momentum: f32,
    /// Seed of random values; they also depend on the step, the layer and the index.
    pub seed: u64,
}

/// Initial value of regrown weights, before the division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialValue {
    /// 0.
    Zero,
    /// One of the layer's initial values of the run, sampled without replacement.
    Initial,
    /// Normal, with mean 0 and the standard deviation of the layer's kept weights.
    Normal,
    /// Uniform in `[−a, a)`, with a the mean magnitude of the layer's kept weights.
    Uniform,
    /// The gradient of the step.
    Gradient,
    /// The sign of the gradient of the step.
    Sign,
}

impl InitialValue {
    /// Names in experiment files.
    pub const ALL: [(&str, Self); 6] = [
        ("zero", Self::Zero),
        ("initial", Self::Initial),
        ("normal", Self::Normal),
        ("uniform", Self::Uniform),
        ("gradient", Self::Gradient),
        ("sign", Self::Sign),
    ];
}

impl Default for GrowInit {
    /// 0 without momentum.
    fn default() -> Self {
        Self { value: InitialValue::Zero, divisor: 1.0, momentum: 0.0, seed: 0 }
    }
}

/// A layer with regrown weights.
pub(crate) struct Entering<'a> {
    pub(crate) id: LayerId,
    pub(crate) step: Step,
    pub(crate) weights: &'a [f32],
    /// The weights that were kept before the update.
    pub(crate) kept: &'a Mask,
    pub(crate) gradient: &'a [f32],
    /// The initial values of the run, if they are stored.
    pub(crate) initial: Option<&'a [f32]>,
    /// The regrown weights.
    pub(crate) entering: &'a Mask,
}

impl GrowInit {
    /// Whether gradients of pruned weights are needed.
    pub(crate) fn needs_gradient(&self) -> bool {
        self.momentum > 0.0 || matches!(self.value, InitialValue::Gradient | InitialValue::Sign)
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// A message: which parameter is out of range, and its legal range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { divisor, momentum, .. } = self;
        match (*divisor > 0.0 && divisor.is_finite(), *momentum >= 0.0 && momentum.is_finite()) {
            (false, _) => Err(format!(
                "the divisor of regrown weights is {divisor}, outside (0, inf); give a number above 0"
            )),
            (_, false) => Err(format!(
                "the momentum of regrown weights is {momentum} gradients, outside [0, inf); give a number of at least 0"
            )),
            _ => Ok(()),
        }
    }

    /// The value of each regrown weight, in index order.
    pub(crate) fn values(&self, layer: &Entering) -> Vec<f32> {
        // The key has four numbers: keys of the criterion `Random` have three.
        let key = [self.seed, layer.step.0, layer.id.0 as u64, 0];
        let mut rng = Rng::for_key(key);
        let entering = || layer.entering.kept();
        let drawn = |value: f64| (value / f64::from(self.divisor)) as f32;
        match self.value {
            InitialValue::Zero => entering().map(|_| 0.0).collect(),
            InitialValue::Initial => {
                let initial = layer.initial.unwrap_or(layer.weights);
                let order = rng.permutation(initial.len());
                entering().map(|index| initial[order[index]] / self.divisor).collect()
            }
            InitialValue::Normal => {
                let kept = || layer.kept.kept().map(|index| f64::from(layer.weights[index]));
                let n = layer.kept.n_kept().max(1) as f64;
                let mean = kept().sum::<f64>() / n;
                let std = (kept().map(|w| (w - mean) * (w - mean)).sum::<f64>() / n).sqrt();
                entering().map(|_| drawn(std * rng.normal())).collect()
            }
            InitialValue::Uniform => {
                let kept = layer.kept.kept().map(|index| f64::from(layer.weights[index].abs()));
                let bound = kept.sum::<f64>() / layer.kept.n_kept().max(1) as f64;
                entering().map(|_| drawn(bound * (2.0 * rng.uniform() - 1.0))).collect()
            }
            InitialValue::Gradient => {
                entering().map(|index| layer.gradient[index] / self.divisor).collect()
            }
            InitialValue::Sign => {
                let sign = |g: f32| if g == 0.0 { 0.0 } else { g.signum() };
                entering().map(|index| sign(layer.gradient[index]) / self.divisor).collect()
            }
        }
    }

    /// The momentum of each regrown weight, in index order; `None` if it is 0.
    pub(crate) fn momenta(&self, layer: &Entering) -> Option<Vec<f32>> {
        let of = |index: usize| self.momentum * layer.gradient[index];
        (self.momentum > 0.0).then(|| layer.entering.kept().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: [f32; 6] = [3.0, 0.0, -1.0, 0.0, 0.0, 1.0];

    fn mask(kept: &[usize]) -> Mask {
        let mut mask = Mask::empty(6);
        kept.iter().for_each(|&index| mask.set(index, true));
        mask
    }

    fn values(value: InitialValue, divisor: f32, seed: u64) -> Vec<f32> {
        let initial = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let layer = Entering {
            id: LayerId(1),
            step: Step(4),
            weights: &WEIGHTS,
            kept: &mask(&[0, 2, 5]),
            gradient: &[1.0, -4.0, 2.0, 0.0, 8.0, 1.0],
            initial: Some(&initial),
            entering: &mask(&[1, 3, 4]),
        };
        GrowInit { value, divisor, seed, momentum: 0.0 }.values(&layer)
    }

    #[test]
    fn values_of_regrown_weights() {
        assert_eq!(values(InitialValue::Zero, 2.0, 0), [0.0; 3]);
        assert_eq!(values(InitialValue::Gradient, 2.0, 0), [-2.0, 0.0, 4.0]);
        assert_eq!(values(InitialValue::Sign, 4.0, 0), [-0.25, 0.0, 0.25]);
        let initial = values(InitialValue::Initial, 2.0, 0);
        let mut sorted = initial.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.dedup();
        assert_eq!(sorted.len(), 3, "sampled without replacement: {initial:?}");
        assert!(sorted.iter().all(|w| (2.0 * w).fract() == 0.0 && *w > 0.0 && *w <= 3.0));
        assert!((1..9).any(|seed| values(InitialValue::Initial, 2.0, seed) != initial));
    }

    #[test]
    fn sampled_values_have_the_moments_of_kept_weights() {
        // The mean of 3, −1 and 1 is 1, the variance 8/3, and the mean magnitude 5/3.
        let drawn = |value, divisor| -> Vec<f64> {
            (0..4000).flat_map(|seed| values(value, divisor, seed)).map(f64::from).collect()
        };
        let moments = |drawn: &[f64]| {
            let n = drawn.len() as f64;
            (drawn.iter().sum::<f64>() / n, drawn.iter().map(|w| w * w).sum::<f64>() / n)
        };
        let (mean, square) = moments(&drawn(InitialValue::Normal, 2.0));
        assert!(mean.abs() < 0.03 && (square / (8.0 / 12.0) - 1.0).abs() < 0.05, "{mean} {square}");
        let uniform = drawn(InitialValue::Uniform, 1.0);
        let (mean, square) = moments(&uniform);
        let bound = 5.0 / 3.0;
        assert!(uniform.iter().all(|w| w.abs() <= bound));
        assert!(mean.abs() < 0.03 && (square / (bound * bound / 3.0) - 1.0).abs() < 0.05);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let of = |divisor, momentum| GrowInit { divisor, momentum, ..GrowInit::default() }.check();
        assert_eq!(of(0.5, 0.0), Ok(()));
        assert!(
            of(0.0, 0.0).unwrap_err().contains("divisor of regrown weights is 0, outside (0, inf)")
        );
        assert!(of(f32::INFINITY, 0.0).is_err());
        assert!(of(1.0, -1.0).unwrap_err().contains("momentum of regrown weights is -1"));
        assert!(of(1.0, f32::NAN).is_err());
    }
}
