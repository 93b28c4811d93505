//! Patterns of layer names.

use super::{AllocationError, Layer};
use wildmatch::WildMatch;

/// Patterns of weight names, with `*` for any characters and `?` for one. Of several that match a layer, the first
/// applies.
pub(super) struct Patterns(Vec<WildMatch>);

impl Patterns {
    /// Errors if a pattern matches none of `layers`.
    pub(super) fn of<'a>(
        patterns: impl Iterator<Item = &'a String>,
        layers: &[Layer],
    ) -> Result<Self, AllocationError> {
        let matcher = |pattern: &String| {
            let matcher = WildMatch::new(pattern);
            match layers.iter().any(|layer| matcher.matches(&layer.info.name)) {
                true => Ok(matcher),
                false => Err(AllocationError::NoMatch {
                    pattern: pattern.clone(),
                    n_layers: layers.len(),
                    example: layers.first().map(|l| l.info.name.clone()).unwrap_or_default(),
                }),
            }
        };
        Ok(Self(patterns.map(matcher).collect::<Result<_, _>>()?))
    }

    /// Index of the first pattern that matches the name of a layer.
    pub(super) fn first_match(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|matcher| matcher.matches(name))
    }
}
