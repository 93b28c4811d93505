//! The same inputs for all outputs.

use super::{Demand, Scored, Structure, units};
use crate::cut::Chosen;

/// All outputs of a layer use the same inputs, and in kernels the same taps. The positions within the weights of an
/// output are ranked by the mean magnitude of their scores over all outputs. At most the requested number of weights is
/// kept, but at least one position.
///
/// An output is an index of the first axis, as in convolutions and linear layers. For linear layers, this structure
/// equals [`Channels`](super::Channels) with axis 1.
///
/// # References
/// RigL's mask `symmetric`, which samples the positions randomly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedInputs;

impl Structure for SharedInputs {
    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        units::choose(layers, demand, units::mean, |layer| {
            let n_outputs = layer.info.shape.first().copied().unwrap_or(1).max(1);
            let each = layer.scores.len() / n_outputs;
            let place = |place| {
                (0..n_outputs).map(|output| output * each + place).map(|i| i..i + 1).collect()
            };
            (0..each).map(place).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Channels,
        tests::{chosen, info},
    };
    use super::*;

    #[test]
    fn positions_are_kept_over_all_outputs() {
        // The means of the four positions: 1.5, 2.5, 0.5 and 2.
        let scores = [1.0, -3.0, 0.0, 4.0, 2.0, 2.0, -1.0, 0.0];
        let kernels = info(&[2, 2, 2, 1]);
        assert_eq!(chosen(&SharedInputs, &[(&kernels, &scores)], 5), [[1, 3, 5, 7]]);
        let linear = info(&[2, 4]);
        let of_axis = chosen(&Channels { axis: 1 }, &[(&linear, &scores)], 6);
        assert_eq!(chosen(&SharedInputs, &[(&linear, &scores)], 6), of_axis);
    }
}
