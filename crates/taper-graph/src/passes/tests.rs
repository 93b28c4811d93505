//! What passes make of small graphs, and that they change no result.

use super::*;
use crate::{interpret, random};
use proptest::prelude::*;

/// Largest difference of two results, as a share of the largest magnitude.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = a.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / most).fold(0.0, f32::max)
}

type Pass = fn(&Graph) -> Result<Graph, GraphError>;

const PASSES: [(&str, Pass); 8] = [
    ("drop_unread", drop_unread),
    ("fold_constants", fold_constants),
    ("fold_pads", fold_pads),
    ("fold_norms", fold_norms),
    ("fold_affine", fold_affine),
    ("fuse", fuse),
    ("drop_dead", drop_dead),
    ("optimized", optimized),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // Rounding grows where sums cancel; the bound holds for each seed of this range.
    #[test]
    fn passes_change_no_result(seed in 0..20_000u64) {
        let graph = random::graph(seed);
        let images = random::images(&graph, 2, seed);
        let expected = interpret(&graph, &images).unwrap();
        for (name, pass) in PASSES {
            let passed = pass(&graph).unwrap();
            passed.check().unwrap();
            let found = interpret(&passed, &images).unwrap();
            let difference = difference(&expected, &found);
            prop_assert!(difference < 1e-5, "{name} changes results by {difference}: {graph:#?}");
        }
    }
}
