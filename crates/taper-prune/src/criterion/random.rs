//! No worth at all.

use super::{Criterion, View};
use std::borrow::Cow;
use taper_core::rng::Rng;

/// A random number in `[0, 1)` for each weight: the mask that a method begins with, or the control that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    /// Decides, with the step, layer and index, each number.
    pub seed: u64,
}

impl Criterion for Random {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        let key = [self.seed, layer.step.0, layer.id.0 as u64];
        let mut rng = Rng::for_key(key);
        // 24 bits, so that a number below 1 does not round to it.
        (0..layer.weights.len())
            .map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32)
            .collect()
    }
}
