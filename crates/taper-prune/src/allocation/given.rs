//! Densities given by name.

use super::{Allocation, AllocationError, Group, Layer, patterns::Patterns, per_layer};
use taper_core::Sparsity;

/// Gives each layer a density proportional to a given number, at most 1.
///
/// If the numbers are densities that add up to the overall density, each layer has exactly its number, up to rounding.
///
/// # References
/// JaxPruner's `custom_sparsity_map`, and RigL's `str`, which uses the densities that STR has learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Patterns of weight names, with `*` for any characters and `?` for one, and a number above 0 for each. The first
    /// pattern that matches a layer applies; a layer without a match has 1.
    pub densities: Vec<(String, f64)>,
}

impl Allocation for Given {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        if let Some((name, density)) =
            self.densities.iter().find(|(_, d)| !(*d > 0.0 && d.is_finite()))
        {
            let reason = format!("the density of {name} is {density}; give a number above 0");
            return Err(AllocationError::Parameter { reason });
        }
        let patterns = Patterns::of(self.densities.iter().map(|(pattern, _)| pattern), layers)?;
        Ok(per_layer(layers, overall, |layer| {
            let found = patterns.first_match(&layer.name);
            found.map_or(1.0, |i| self.densities[i].1) * layer.n_weights() as f64
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{infos, layers};
    use super::*;

    fn counts(densities: &[(&str, f64)], sparsity: f64) -> Result<Vec<u64>, AllocationError> {
        let infos = infos(&[&[10, 10], &[20, 10], &[30, 10]]);
        let densities = densities.iter().map(|&(name, density)| (name.to_string(), density));
        let given = Given { densities: densities.collect() };
        let groups = given.allocate(&layers(&infos), Sparsity::new(sparsity).unwrap())?;
        Ok(groups.iter().map(|group| group.n_keep).collect())
    }

    #[test]
    fn densities_that_add_up_are_met_and_others_are_scaled() {
        // 100·0.5 + 200·0.2 + 300·0.1 = 120 of 600.
        let densities = [("layer0.*", 0.5), ("layer1.weight", 0.2), ("layer*", 0.1)];
        assert_eq!(counts(&densities, 0.8).unwrap(), [50, 40, 30]);
        assert_eq!(counts(&densities, 0.9).unwrap(), [25, 20, 15]);
        // In proportion, the first layer would exceed its 100 weights, so it is full. The others share the rest 40 to
        // 30.
        assert_eq!(counts(&densities, 0.475).unwrap(), [100, 123, 92]);
        assert_eq!(counts(&[("layer0.*", 2.0)], 0.5).unwrap(), [86, 86, 128]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        let error = counts(&[("stem*", 0.5)], 0.5).unwrap_err().to_string();
        assert!(error.contains("`stem*` matches none of the 3"), "{error}");
    }
}
