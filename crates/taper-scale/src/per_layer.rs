//! A policy that is applied to each layer.

use crate::{GradientScale, Now, PrunedGrad};

/// Applies a policy to each layer, with the sparsity of that layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayer<P>(pub P);

impl<P: GradientScale> GradientScale for PerLayer<P> {
    fn at(&self, now: &Now) -> PrunedGrad {
        self.0.at(now)
    }

    fn is_per_layer(&self) -> bool {
        true
    }
}
