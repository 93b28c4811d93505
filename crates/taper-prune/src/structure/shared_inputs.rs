//! The same inputs for each output.

use super::{Demand, Scored, Structure, units};
use crate::cut::Chosen;

/// Each place of an output's weights, over all outputs of a layer: all of them use the same inputs, and of kernels the same taps.
/// Places are ranked by the mean magnitude of their scores. What is kept is at most what is asked for.
///
/// An output is an index of the first dimension, as in convolutions and linear layers. For linear layers this is
/// [`Channels`](super::Channels) with axis 1.
///
/// # References
/// RigL's mask `symmetric`, which draws the places at random.
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
    fn places_are_kept_over_all_outputs() {
        // The means of four places: 1.5, 2.5, 0.5 and 2.
        let scores = [1.0, -3.0, 0.0, 4.0, 2.0, 2.0, -1.0, 0.0];
        let kernels = info(&[2, 2, 2, 1]);
        assert_eq!(chosen(&SharedInputs, &[(&kernels, &scores)], 5), [[1, 3, 5, 7]]);
        let linear = info(&[2, 4]);
        let of_axis = chosen(&Channels { axis: 1 }, &[(&linear, &scores)], 6);
        assert_eq!(chosen(&SharedInputs, &[(&linear, &scores)], 6), of_axis);
    }
}
