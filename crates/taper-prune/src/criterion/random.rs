//! Random scores.

use super::{Criterion, View};
use std::borrow::Cow;
use taper_core::rng::Rng;

/// A random score in `[0, 1)` for each weight: for random initial masks, or as a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    /// Seed of the scores; they also depend on the step, the layer and the index.
    pub seed: u64,
}

impl Criterion for Random {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        let key = [self.seed, layer.step.0, layer.id.0 as u64];
        let mut rng = Rng::for_key(key);
        // 24 bits: a number below 1 then does not round to 1.
        (0..layer.weights.len())
            .map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32)
            .collect()
    }
}
