//! Scores normalised within each layer.

use super::{Criterion, View};
use crate::measure::Measure;
use std::borrow::Cow;

/// The score of another criterion, divided by the Euclidean norm of the scores of its layer, `sᵢ / √(Σⱼ sⱼ²)`. A global
/// ranking then compares relative scores.
///
/// # References
/// JaxPruner's `use_normalization` of global pruners (arXiv:2304.14082).
#[derive(Debug)]
pub struct Normalised {
    /// The other criterion.
    pub of: Box<dyn Criterion>,
}

/// The Euclidean norm, at least the smallest normal float.
fn norm(scores: &[f32]) -> f32 {
    let sum: f64 = scores.iter().map(|&score| f64::from(score) * f64::from(score)).sum();
    (sum.sqrt() as f32).max(f32::MIN_POSITIVE)
}

impl Criterion for Normalised {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        let scores = self.of.scores(layer);
        let norm = norm(&scores);
        scores.iter().map(|score| score / norm).collect()
    }

    fn needs_gradient(&self) -> bool {
        self.of.needs_gradient()
    }

    fn remembers(&self) -> bool {
        self.of.remembers()
    }

    fn remember(&self, memory: &mut [f32], layer: &View) {
        self.of.remember(memory, layer);
    }

    fn measure(&self) -> Option<&dyn Measure> {
        self.of.measure()
    }

    fn magnitude(&self, layer: &View, score: f32) -> Option<f32> {
        self.of.magnitude(layer, score * norm(&self.of.scores(layer)))
    }

    fn check(&self) -> Result<(), String> {
        self.of.check()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{info, scores};
    use super::super::{Gradient, Magnitude, SynFlow};
    use super::*;
    use taper_core::{LayerId, Step};

    #[test]
    fn scores_are_divided_by_the_norm_of_their_layer() {
        let of = |of: Box<dyn Criterion>| {
            scores(&Normalised { of }, &[3.0, 0.0, -4.0, 0.0], &[0.0, 6.0, 8.0, 0.0], 0)
        };
        assert_eq!(of(Box::new(Magnitude)), [0.6, 0.0, -0.8, 0.0]);
        assert_eq!(of(Box::new(Gradient)), [0.0, 0.6, 0.8, 0.0]);
        assert_eq!(
            scores(&Normalised { of: Box::new(Magnitude) }, &[0.0; 4], &[0.0; 4], 0),
            [0.0; 4]
        );
    }

    #[test]
    fn a_cut_is_a_magnitude_of_its_layer() {
        let info = info(&[1, 2]);
        let (id, weights, gradient) = (LayerId(0), &[3.0, 4.0][..], None);
        let view = View { id, info: &info, weights, gradient, step: Step::ZERO };
        let normalised = Normalised { of: Box::new(Magnitude) };
        assert_eq!(normalised.magnitude(&view, 0.5), Some(2.5));
        assert!(!normalised.needs_gradient());
        assert!(Normalised { of: Box::new(Gradient) }.needs_gradient());
        assert!(Normalised { of: Box::new(SynFlow { rounds: 1 }) }.measure().is_some());
    }
}
