//! Learned thresholds, one for each layer.

use super::{Gated, Operator};
use taper_core::{LayerId, LayerInfo};
use taper_kernels::threshold::Threshold;

/// Soft thresholding with a learned threshold for each layer: `σ(s)`, the logistic function of a parameter `s`.
/// Stochastic gradient descent with momentum and weight decay updates `s` together with the weights. The sparsity is a
/// result: the decay pulls `s` towards 0, where the threshold is half of its largest possible value, and the loss works
/// against it.
///
/// Pruned weights receive no gradient: use [resting](crate::Remainder::resting) pruned weights.
///
/// # References
/// Kusupati et al., "Soft threshold weight reparameterization for learnable sparsity" (arXiv:2002.03231): STR.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedThreshold {
    /// Initial `s` of every layer; −10 gives a threshold of 5e-5.
    initial: f32,
    momentum: f32,
    /// Weight decay: this factor times `s` is added to the gradient of `s`.
    decay: f32,
    /// The parameters of each layer after the first backward pass; before it, every layer has the initial value.
    learned: Vec<Learned>,
}

/// The learned parameter of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Learned {
    s: f32,
    velocity: f32,
    /// The gradient of `s` in the current step.
    gradient: f32,
}

impl LearnedThreshold {
    /// Thresholds that start at `σ(initial)`, and are learned with this momentum and weight decay.
    pub fn new(initial: f32, momentum: f32, decay: f32) -> Self {
        Self { initial, momentum, decay, learned: Vec::new() }
    }
}

/// `σ(s) = 1 / (1 + e^−s)`.
fn logistic(s: f32) -> f64 {
    1.0 / (1.0 + libm::exp(-f64::from(s)))
}

impl Operator for LearnedThreshold {
    fn threshold(&self) -> Option<Threshold> {
        Some(Threshold::Soft)
    }

    fn cut(&self, layer: LayerId) -> Option<f32> {
        Some(logistic(self.learned.get(layer.0).map_or(self.initial, |learned| learned.s)) as f32)
    }

    fn has_backward(&self) -> bool {
        true
    }

    fn backward(&mut self, layers: &[Gated], grads: &mut [Vec<f32>]) {
        self.learned.resize(layers.len(), Learned { s: self.initial, ..Learned::default() });
        for ((learned, layer), grad) in self.learned.iter_mut().zip(layers).zip(grads) {
            let kept = layer.mask.kept();
            let moved = kept.map(|i| f64::from(grad[i] * layer.weights[i].signum()));
            let cut = logistic(learned.s);
            learned.gradient = (-moved.sum::<f64>() * cut * (1.0 - cut)) as f32;
        }
    }

    fn learn(&mut self, factor: f64, lr: f64) {
        for Learned { s, velocity, gradient } in &mut self.learned {
            let gradient = (factor * f64::from(*gradient)) as f32 + self.decay * *s;
            *velocity = self.momentum * *velocity + gradient;
            *s -= (lr * f64::from(*velocity)) as f32;
        }
    }

    fn state(&self) -> Vec<f32> {
        self.learned.iter().flat_map(|learned| [learned.s, learned.velocity]).collect()
    }

    fn restore(&mut self, state: &[f32], layers: &[&LayerInfo]) -> Result<(), String> {
        if !state.is_empty() && state.len() != 2 * layers.len() {
            let found = state.len() / 2;
            return Err(format!("it has {found} learned thresholds for {} layers", layers.len()));
        }
        let learned = state.chunks_exact(2);
        self.learned =
            learned.map(|l| Learned { s: l[0], velocity: l[1], gradient: 0.0 }).collect();
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let Self { initial, momentum, decay, .. } = self;
        match (
            initial.is_finite(),
            *momentum >= 0.0 && *momentum < 1.0,
            decay.is_finite() && *decay >= 0.0,
        ) {
            (false, ..) => {
                Err(format!("the initial threshold is σ({initial}); give a finite number"))
            }
            (_, false, _) => Err(format!("momentum is {momentum}, outside [0, 1)")),
            (.., false) => Err(format!("decay is {decay}; it must be finite and at least 0")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{gated, info};
    use super::*;
    use taper_kernels::mask::Mask;

    #[test]
    fn the_gradient_of_a_threshold_is_that_of_finite_differences() {
        let (info, w, g) = (info(&[2, 2]), [0.5f32, -0.9, 0.1, -0.2], [0.3f32, 0.7, 5.0, -0.1]);
        let mut operator = LearnedThreshold::new(-1.5, 0.9, 0.1);
        let loss = |s: f32| {
            let cut = logistic(s) as f32;
            let value = |w: f32| Threshold::Soft.apply(w, cut);
            w.iter().zip(g).map(|(&w, g)| f64::from(value(w) * g)).sum::<f64>()
        };
        let cut = operator.cut(LayerId(0)).unwrap();
        assert!((cut - 0.18242552).abs() < 1e-7, "{cut}");
        let mask = Mask::above(&w, cut);
        operator.backward(&[gated(&info, &w, &mask, cut)], &mut [g.to_vec()]);
        let want = (loss(-1.499) - loss(-1.501)) / 0.002;
        let got = f64::from(operator.learned[0].gradient);
        assert!((got - want).abs() < 1e-3 * want.abs(), "{got} for {want}");

        // The first velocity is 0.5·g + 0.1·s.
        operator.learn(0.5, 0.2);
        let first = 0.5 * got - 0.15;
        assert!((f64::from(operator.learned[0].s) - (-1.5 - 0.2 * first)).abs() < 1e-6);
        let state = operator.state();
        let mut other = LearnedThreshold::new(3.0, 0.9, 0.1);
        other.restore(&state, &[&info]).unwrap();
        assert_eq!((other.state(), other.cut(LayerId(0))), (state, operator.cut(LayerId(0))));
        for state in [&[1.0][..], &[1.0; 4]] {
            assert!(other.restore(state, &[&info]).unwrap_err().contains("for 1 layers"));
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let check = |initial, momentum, decay| {
            LearnedThreshold::new(initial, momentum, decay).check().is_ok()
        };
        assert!(check(-5.0, 0.0, 0.0));
        assert!(!check(f32::NAN, 0.0, 0.0) && !check(0.0, 1.0, 0.0) && !check(0.0, 0.0, -1.0));
    }
}
