//! Constant fan-in with every input in use.

use super::{Demand, FanIn, Scored, Structure};
use crate::cut::Chosen;
use taper_kernels::mask::Mask;

/// [`FanIn`] in which every input is used by some output, if at least as many weights are kept as there are inputs. For
/// each unused input, one output exchanges a weight: it keeps its weight for this input, and prunes the weight with its
/// lowest score among the inputs that other outputs also use. Of the outputs with such a weight, it is the one with the
/// highest score for the unused input.
///
/// An input is a position within the weights of an output; in a kernel, each tap is a separate input.
///
/// # References
/// RigL's mask `per_neuron_no_input_ablation`, which samples the weights randomly. If fewer weights are requested than
/// there are inputs, RigL's mask keeps more than requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllInputs;

impl Structure for AllInputs {
    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        let mut chosen = FanIn.choose(layers, demand);
        for (layer, mask) in layers.iter().zip(&mut chosen.masks) {
            use_all(layer, mask);
        }
        chosen
    }
}

/// Gives each unused input of a layer a weight, if enough weights are kept.
fn use_all(layer: &Scored, mask: &mut Mask) {
    let n_outputs = layer.info.shape.first().copied().unwrap_or(1).max(1);
    let each = layer.scores.len() / n_outputs;
    let score = |output: usize, input: usize| layer.scores[output * each + input].abs();
    let mut users = vec![0usize; each];
    mask.kept().filter(|_| each > 0).for_each(|index| users[index % each] += 1);
    for input in 0..each {
        if users[input] > 0 {
            continue;
        }
        // The lowest-scoring weight of an output with an input that other outputs also use; of ties, the higher index.
        let spare = |mask: &Mask, users: &[usize], output: usize| {
            let inputs = (0..each).rev().filter(|&i| users[i] > 1);
            let kept = inputs.filter(|&i| mask.is_kept(output * each + i));
            kept.min_by(|&a, &b| score(output, a).total_cmp(&score(output, b)))
        };
        // Of ties, the first output.
        let outputs = (0..n_outputs).rev().filter_map(|o| Some((o, spare(mask, &users, o)?)));
        let best = outputs.max_by(|a, b| score(a.0, input).total_cmp(&score(b.0, input)));
        let Some((output, spared)) = best else { return };
        mask.set(output * each + spared, false);
        mask.set(output * each + input, true);
        users[spared] -= 1;
        users[input] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chosen, info};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unused_input_replaces_the_lowest_score_that_can_be_spared() {
        // Both outputs prefer inputs 0 and 1; inputs 2 and 3 go to the outputs with the highest scores for them.
        let scores = [9.0, 8.0, 1.0, 0.5, 7.0, 6.0, 0.5, 2.0];
        let info = info(&[2, 4]);
        let kept = |n| chosen(&AllInputs, &[(&info, &scores)], n).remove(0);
        assert_eq!(kept(4), [0, 2, 5, 7]);
        // Three weights cannot use four inputs. The first output gives up the input that both use.
        assert_eq!(kept(3), [1, 2, 4]);
        assert_eq!(kept(8).len(), 8);
    }

    proptest! {
        #[test]
        fn each_input_is_used_if_there_are_enough_weights(
            shape in (1usize..6, 1usize..9), seed in prop::collection::vec(-4i8..4, 54), n in 0u64..60,
        ) {
            let info = info(&[shape.0, shape.1]);
            let scores: Vec<f32> = seed[..shape.0 * shape.1].iter().map(|&s| f32::from(s)).collect();
            let n = n.min(scores.len() as u64);
            let kept = chosen(&AllInputs, &[(&info, &scores)], n).remove(0);
            let plain = chosen(&FanIn, &[(&info, &scores)], n).remove(0);
            let of = |kept: &[usize], output| kept.iter().filter(|&&i| i / shape.1 == output).count();
            for output in 0..shape.0 {
                prop_assert_eq!(of(&kept, output), of(&plain, output));
            }
            let mut inputs: Vec<usize> = kept.iter().map(|i| i % shape.1).collect();
            inputs.sort_unstable();
            inputs.dedup();
            prop_assert_eq!(inputs.len(), shape.1.min(n as usize));
        }
    }
}
