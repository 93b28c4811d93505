//! Limits on the sparsity of single layers, by name.

use super::{
    Allocation, AllocationError, Group, Layer,
    apportion::{Claim, apportion},
    n_weights,
    patterns::Patterns,
};
use taper_core::Sparsity;

/// The largest sparsity of the layers that match a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Pattern of weight names, with `*` for any characters and `?` for one: `conv1.weight`, `layer1.*`.
    pub pattern: String,
    /// The layer's sparsity never exceeds this, up to rounding; 0 keeps it dense.
    pub at_most: Sparsity,
}

/// Limits the sparsity of some layers, and allocates the other layers to meet the overall sparsity.
///
/// A pinned layer has the density of all unpinned layers together until it reaches its pin, and then stays there; the
/// other layers compensate for it. The first pin that matches a layer applies.
#[derive(Debug)]
pub struct Pinned {
    /// Allocation of the layers that match no pin.
    pub inner: Box<dyn Allocation>,
    /// The pins.
    pub pins: Vec<Pin>,
}

impl Allocation for Pinned {
    fn allocate(&self, layers: &[Layer], overall: Sparsity) -> Result<Vec<Group>, AllocationError> {
        let patterns = Patterns::of(self.pins.iter().map(|pin| &pin.pattern), layers)?;
        // Each pinned layer has its own claim, with its count at the pin as lower bound; the free layers share the last
        // claim. The count of the free layers falls with the overall count, like every claim, and the inner allocation
        // distributes it.
        let (mut pinned, mut bounds, mut free) = (Vec::new(), Vec::new(), Vec::new());
        for &layer in layers {
            match patterns.first_match(&layer.info.name) {
                None => free.push(layer),
                Some(pin) => {
                    let n = layer.info.n_weights();
                    let at_most = self.pins[pin].at_most;
                    let claim = Claim { least: at_most.n_kept(n), ..Claim::new(n, n as f64) };
                    bounds.push((claim, at_most.density() * n as f64));
                    pinned.push(layer);
                }
            }
        }
        let n_keep = overall.n_kept(n_weights(layers));
        round_down(&mut bounds, n_keep);
        let mut claims: Vec<Claim> = bounds.into_iter().map(|(claim, _)| claim).collect();
        let n_pinned = claims.iter().map(|claim| claim.least).sum();
        if n_pinned > n_keep {
            return Err(AllocationError::Pinned { n_pinned, n_keep, overall: overall.get() });
        }
        let n_free = n_weights(&free);
        claims.push(Claim::new(n_free, n_free as f64));
        let kept = apportion(&claims, n_keep);
        let mut groups: Vec<Group> =
            pinned.iter().zip(&kept).map(|(layer, &n_keep)| Group::of(*layer, n_keep)).collect();
        if !free.is_empty() {
            groups.extend(self.inner.allocate(&free, Sparsity::of(kept[pinned.len()], n_free))?);
        }
        Ok(groups)
    }
}

/// Lower bounds that are rounded separately can add up to more than the rounded sum. The bounds that were rounded up
/// furthest are then rounded down; of ties, the lower layer first. The fewer weights are kept, the more bounds are
/// rounded down, so no bound rises again.
fn round_down(pinned: &mut [(Claim, f64)], n_keep: u64) {
    let excess = pinned.iter().map(|(claim, _)| claim.least).sum::<u64>().saturating_sub(n_keep);
    let mut rounded_up: Vec<_> = pinned
        .iter_mut()
        .map(|(claim, exact)| (claim.least as f64 - *exact, claim))
        // A difference within float rounding means that the exact count is a whole number.
        .filter(|(gained, _)| *gained > 1e-6)
        .collect();
    rounded_up.sort_by(|a, b| b.0.total_cmp(&a.0));
    rounded_up.into_iter().take(excess as usize).for_each(|(_, claim)| claim.least -= 1);
}

#[cfg(test)]
mod tests {
    use super::super::Global;
    use super::super::tests::{infos, layers};
    use super::*;
    use proptest::prelude::*;

    fn pinned(pattern: &str, at_most: f64) -> Pinned {
        let pin = Pin { pattern: pattern.into(), at_most: Sparsity::new(at_most).unwrap() };
        Pinned { inner: Box::new(Global), pins: vec![pin] }
    }

    #[test]
    fn a_pinned_layer_stays_and_the_others_make_up_for_it() {
        let infos = infos(&[&[10, 10], &[30, 10], &[60, 10]]);
        let allocate =
            |s: f64, pins: &Pinned| pins.allocate(&layers(&infos), Sparsity::new(s).unwrap());
        let groups = allocate(0.8, &pinned("layer0.*", 0.0)).unwrap();
        assert_eq!(groups.iter().map(|g| g.n_keep).collect::<Vec<_>>(), [100, 100]);
        let groups = allocate(0.3, &pinned("layer0.weight", 0.5)).unwrap();
        assert_eq!(groups[0].n_keep, 70, "below its pin a layer is as sparse as the others");
    }

    #[test]
    fn pinned_layers_below_their_pin_compensate_for_those_at_their_pin() {
        let infos = infos(&[&[10, 10], &[30, 10], &[60, 10]]);
        let pin = |pattern: &str, at_most| Pin {
            pattern: pattern.into(),
            at_most: Sparsity::new(at_most).unwrap(),
        };
        let pins =
            Pinned { inner: Box::new(Global), pins: vec![pin("layer0.*", 0.0), pin("*", 0.9)] };
        let counts = |s: f64| -> Vec<u64> {
            let groups = pins.allocate(&layers(&infos), Sparsity::new(s).unwrap()).unwrap();
            groups.iter().map(|g| g.n_keep).collect()
        };
        assert_eq!(counts(0.46), [100, 147, 293]);
        assert_eq!(counts(0.81), [100, 30, 60]);
    }

    #[test]
    fn counts_add_up_even_if_every_layer_is_pinned() {
        let infos = infos(&[&[3, 1], &[3, 1], &[3, 1]]);
        let groups =
            pinned("*", 0.9).allocate(&layers(&infos), Sparsity::new(0.56).unwrap()).unwrap();
        // Each keeps round(1.32) = 1, all together round(3.96) = 4.
        assert_eq!(groups.iter().map(|g| g.n_keep).collect::<Vec<_>>(), [2, 1, 1]);
    }

    #[test]
    fn pins_at_the_overall_sparsity_are_met_however_each_is_rounded() {
        // 3.7 and 2.6 weights are 4 and 3 when each is rounded, and 6 when their sum is.
        let infos = infos(&[&[37, 1], &[26, 1]]);
        let counts = |s: f64| -> Option<Vec<u64>> {
            let groups = pinned("*", 0.9).allocate(&layers(&infos), Sparsity::new(s).unwrap());
            Some(groups.ok()?.iter().map(|g| g.n_keep).collect())
        };
        assert_eq!([0.88, 0.89, 0.9].map(counts), [[5, 3], [4, 3], [4, 2]].map(|n| Some(n.into())));
        assert_eq!(
            counts(0.93),
            None,
            "4 weights are left, but the pins keep 5 even if rounded down"
        );
    }

    proptest! {
        #[test]
        fn pins_above_the_overall_sparsity_never_prevent_it(
            sizes in prop::collection::vec(1usize..60, 1..7), s in 0.0..=0.9f64,
        ) {
            let shapes: Vec<[usize; 2]> = sizes.iter().map(|&n| [n, 1]).collect();
            let infos = infos(&shapes.iter().map(|s| &s[..]).collect::<Vec<_>>());
            let overall = Sparsity::new(s).unwrap();
            for pattern in ["*", "layer0.*"] {
                let groups = pinned(pattern, 0.9).allocate(&layers(&infos), overall).unwrap();
                let kept: u64 = groups.iter().map(|g| g.n_keep).sum();
                prop_assert_eq!(kept, overall.n_kept(n_weights(&layers(&infos))));
            }
        }
    }

    #[test]
    fn what_cannot_be_met_is_an_error_that_says_why() {
        let infos = infos(&[&[10, 10], &[30, 10]]);
        let allocate = |s: f64, pins: &Pinned| {
            pins.allocate(&layers(&infos), Sparsity::new(s).unwrap()).unwrap_err().to_string()
        };
        assert!(allocate(0.9, &pinned("layer0*", 0.0)).contains("100 weights"));
        assert!(allocate(0.9, &pinned("stem*", 0.0)).contains("`stem*` matches none"));
        assert!(allocate(0.5, &pinned("*", 0.0)).contains("lower the target"));
        assert!(allocate(0.9, &pinned("*", 0.5)).contains("200 weights"));
    }
}
