//! The reverse order of another criterion.

use super::{Criterion, View};
use crate::measure::Measure;
use std::borrow::Cow;

/// Ranks first the weights that another criterion ranks last: a control that shows whether its order matters. Ties
/// still go to the lower index.
///
/// A criterion that measures the network in several rounds cannot be inverted: weights that were pruned in one round
/// would return in the next.
///
/// # References
/// RigL's `rigl_inverted`, which grows the weights of the smallest gradient.
#[derive(Debug)]
pub struct Inverted {
    /// The other criterion.
    pub of: Box<dyn Criterion>,
}

impl Criterion for Inverted {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        // Magnitudes have the order of their bits, so nothing is rounded.
        let largest = f32::MAX.to_bits();
        let invert = |score: &f32| f32::from_bits(largest.saturating_sub(score.abs().to_bits()));
        self.of.scores(layer).iter().map(invert).collect()
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

    fn check(&self) -> Result<(), String> {
        match self.of.measure().map_or(1, Measure::rounds) {
            0 | 1 => self.of.check(),
            rounds => Err(format!(
                "{:?} measures the network in {rounds} rounds, so its order cannot be inverted; choose one round",
                self.of
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scores;
    use super::super::{Gradient, Magnitude, SynFlow};
    use super::*;

    #[test]
    fn the_smallest_comes_first() {
        let weights = [0.5, f32::MAX, -0.25, 0.0];
        let found = scores(&Inverted { of: Box::new(Magnitude) }, &weights, &[0.0; 4], 0);
        assert_eq!((found[1], found[3]), (0.0, f32::MAX));
        assert!(found[3] > found[2] && found[2] > found[0] && found[0] > found[1], "{found:?}");
        let of_infinity =
            scores(&Inverted { of: Box::new(Magnitude) }, &[f32::INFINITY; 2], &[0.0; 2], 0);
        assert_eq!(of_infinity, [0.0; 2]);
        assert!(Inverted { of: Box::new(Gradient) }.needs_gradient());
        assert!(Inverted { of: Box::new(SynFlow { rounds: 1 }) }.measure().is_some());
    }
}
