//! Constant fan-in: each output keeps the same number of weights.

use super::{Demand, Scored, Structure};
use crate::{allocation::share_out, cut::Chosen};
use std::ops::Range;
use taper_kernels::mask::Mask;

/// Keeps the weights with the largest scores of each output. All outputs of a layer keep the same number of weights, or
/// one more: a constant fan-in. Counts are exact; the first outputs keep the remaining weights after rounding, and ties
/// go to the lower index.
///
/// An output is an index of the first axis, as in convolutions and linear layers.
///
/// # References
/// RigL's mask `per_neuron`; Lasby et al., "Dynamic Sparse Training with Structured Sparsity" (arXiv:2305.02299), with
/// the same fan-in of each output throughout training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanIn;

impl Structure for FanIn {
    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        let outputs: Vec<Vec<Range<usize>>> = layers.iter().map(outputs).collect();
        let sizes: Vec<u64> = outputs.iter().flatten().map(|output| output.len() as u64).collect();
        let mut kept = share_out(&sizes, demand.n_keep).into_iter();
        let masks = layers.iter().zip(&outputs).map(|(layer, outputs)| {
            let mut mask = Mask::empty(layer.scores.len());
            for output in outputs {
                let mut ranked: Vec<usize> = output.clone().collect();
                // Stable sort: of ties, the lower index comes first.
                ranked.sort_by(|&a, &b| layer.scores[b].abs().total_cmp(&layer.scores[a].abs()));
                let n = kept.next().unwrap_or(0) as usize;
                ranked.into_iter().take(n).for_each(|index| mask.set(index, true));
            }
            mask
        });
        Chosen { at: 0.0, masks: masks.collect() }
    }
}

/// Index ranges of the weights of each output.
fn outputs(layer: &Scored) -> Vec<Range<usize>> {
    let n = layer.info.shape.first().copied().unwrap_or(1).max(1);
    let each = layer.scores.len() / n;
    (0..n).map(|output| output * each..(output + 1) * each).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chosen, info};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_output_keeps_its_largest() {
        let scores = [1.0, 9.0, -8.0, 7.0, 0.1, 0.3, 0.3, -0.2];
        let info = info(&[2, 4]);
        let kept = |n| chosen(&FanIn, &[(&info, &scores)], n).remove(0);
        assert_eq!(kept(4), [1, 2, 5, 6]);
        assert_eq!(kept(3), [1, 2, 5], "the first output has the odd weight");
        assert_eq!(kept(8).len(), 8);
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_differ_by_one_at_most(
            shape in (1usize..6, 1usize..9), seed in prop::collection::vec(-4.0f32..4.0, 54), n in 0u64..60,
        ) {
            let info = info(&[shape.0, shape.1]);
            let scores = &seed[..shape.0 * shape.1];
            let n = n.min(scores.len() as u64);
            let kept = chosen(&FanIn, &[(&info, scores)], n).remove(0);
            prop_assert_eq!(kept.len() as u64, n);
            let of = |output| kept.iter().filter(|&&index| index / shape.1 == output).count();
            let counts: Vec<usize> = (0..shape.0).map(of).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }
}
