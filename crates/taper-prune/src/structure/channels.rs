//! Whole channels along an axis.

use super::{Demand, Scored, Structure, units};
use crate::cut::Chosen;
use taper_core::LayerInfo;

/// Channels: all weights with the same index along an axis, ranked by the mean magnitude of their scores. In a
/// convolution or linear layer, axis 0 gives the weights of an output, and axis 1 the weights of an input. At most the
/// requested number of weights is kept, but at least one channel.
///
/// # References
/// JaxPruner's `Channel` (arXiv:2304.14082).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// The axis of the weight's shape, counted from 0.
    pub axis: usize,
}

impl Structure for Channels {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        match layer.shape.len() {
            rank if self.axis < rank => Ok(()),
            rank => Err(format!("its weight has {rank} axes, so there is no axis {}", self.axis)),
        }
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        units::choose(layers, demand, units::mean, |layer| {
            let shape = &layer.info.shape;
            let n = shape.get(self.axis).copied().unwrap_or(0);
            // A channel consists of runs of `together` weights, one for each index of the axes before `axis`.
            let together: usize = shape.iter().skip(self.axis + 1).product();
            let begins = |channel: usize| {
                let all = (channel * together..layer.scores.len()).step_by((n * together).max(1));
                all.map(|begin| begin..begin + together).collect()
            };
            (0..n).map(begins).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chosen, info};
    use super::*;

    #[test]
    fn channels_of_both_axes_by_hand() {
        // Outputs are rows: means 2, 3 and 1; inputs are columns of kernels with two weights: means 1.5 and 2.5.
        let scores = [1.0, -1.0, 3.0, 3.0, 2.0, 2.0, 4.0, -4.0, 2.0, 1.0, 0.0, 1.0];
        let info = info(&[3, 2, 2, 1]);
        let kept = |axis, n| chosen(&Channels { axis }, &[(&info, &scores)], n).remove(0);
        assert_eq!(kept(0, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(kept(0, 7), [4, 5, 6, 7], "7 weights are one output");
        assert_eq!(kept(1, 6), [2, 3, 6, 7, 10, 11]);
        assert!(Channels { axis: 4 }.check(&info).unwrap_err().contains("4 axes"));
        assert!(Channels { axis: 3 }.check(&info).is_ok());
    }
}
