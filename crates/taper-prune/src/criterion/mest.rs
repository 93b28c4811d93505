//! Magnitude plus gradient.

use super::{Criterion, View, of_both};
use std::borrow::Cow;

/// `|w| + λ·|g|`: a larger gradient raises the score of a small weight.
///
/// # References
/// Yuan et al., "MEST" (arXiv:2110.14032), equation 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mest {
    /// Factor on the gradient, at least 0.
    pub lambda: f32,
}

impl Default for Mest {
    /// λ = 0.01, about a learning rate: `λ·|g|` is then about the change of the weight in one step.
    fn default() -> Self {
        Self { lambda: 0.01 }
    }
}

impl Criterion for Mest {
    fn scores<'a>(&self, layer: &View<'a>) -> Cow<'a, [f32]> {
        of_both(layer, |w, g| w.abs() + self.lambda * g.abs())
    }

    fn needs_gradient(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        match self.lambda >= 0.0 && self.lambda.is_finite() {
            true => Ok(()),
            false => {
                Err(format!("the factor on the gradient is {}, outside [0, inf)", self.lambda))
            }
        }
    }
}
