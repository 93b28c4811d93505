//! N:M sparsity.

use super::{Demand, Scored, Structure};
use crate::cut::Chosen;
use taper_core::{LayerInfo, LayerKind, Sparsity};
use taper_kernels::mask::Mask;

/// N:M sparsity along the input axis: of each M consecutive weights, the N with the largest scores are kept; ties go to
/// the lower index. While the schedule is below the sparsity of the pattern, more than N weights of each M are kept, up
/// to rounding, and the same number in each group.
///
/// # References
/// Zhou et al., "Learning N:M fine-grained structured sparse networks" (arXiv:2102.04010).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NOfM {
    /// Weights kept per group, at least 1.
    pub n: usize,
    /// Weights per group, more than `n`.
    pub m: usize,
}

impl NOfM {
    /// The sparsity of the pattern, `1 − n/m`.
    pub fn sparsity(self) -> Sparsity {
        Sparsity::of(self.n as u64, self.m as u64)
    }

    /// Number of weights kept of each M at a sparsity.
    fn kept(self, sparsity: Sparsity) -> usize {
        let wanted = ((1.0 - sparsity.get()) * self.m as f64).round() as usize;
        wanted.max(self.n).min(self.m)
    }
}

impl NOfM {
    /// Checks the pattern, and that an axis of this length has whole groups.
    fn check(self, axis: &str, length: Option<usize>) -> Result<(), String> {
        let Self { n, m } = self;
        if n == 0 || n >= m {
            return Err(format!(
                "{n}:{m} keeps {n} of {m} weights; it must keep at least 1, and fewer than all"
            ));
        }
        match length.unwrap_or(0) {
            length if length > 0 && length.is_multiple_of(m) => Ok(()),
            length => {
                Err(format!("its {axis} axis has {length} weights, which is no multiple of {m}"))
            }
        }
    }

    fn quota(self, layer: &LayerInfo, sparsity: Sparsity) -> u64 {
        layer.n_weights().checked_div(self.m as u64).unwrap_or(0) * self.kept(sparsity) as u64
    }

    /// Masks of layers with groups along an axis.
    fn choose(self, layers: &[Scored], demand: &Demand, axis: usize) -> Chosen {
        let masks = layers.iter().map(|layer| {
            let n_groups = layer.scores.len() / self.m;
            // `quota` makes a group of each layer, so the demand is that of one layer: the same number of each M.
            let n_keep = (demand.n_keep as usize).checked_div(n_groups).unwrap_or(0);
            // Distance between neighbours along the axis.
            let stride: usize = layer.info.shape.iter().skip(axis + 1).product();
            let mut mask = Mask::empty(layer.scores.len());
            // Groups along the axis, at each position of the other axes.
            for first in (0..layer.scores.len()).step_by((self.m * stride).max(1)) {
                for place in first..first + stride {
                    let index = |i: usize| place + i * stride;
                    let mut ranked: Vec<usize> = (0..self.m).map(index).collect();
                    ranked
                        .sort_by(|&a, &b| layer.scores[b].abs().total_cmp(&layer.scores[a].abs()));
                    ranked.iter().take(n_keep).for_each(|&index| mask.set(index, true));
                }
            }
            mask
        });
        Chosen { at: 0.0, masks: masks.collect() }
    }
}

/// Whether input and output axes are exchanged, as in a transposed convolution.
fn is_transposed(layer: &LayerInfo) -> bool {
    matches!(layer.kind, LayerKind::ConvTranspose { .. })
}

impl Structure for NOfM {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        if is_transposed(layer) {
            return Err(
                "it is a transposed convolution, where the input axis is the first, not the second"
                    .into(),
            );
        }
        (*self).check("input", layer.shape.get(1).copied())
    }

    fn quota(&self, layer: &LayerInfo, sparsity: Sparsity) -> Option<u64> {
        Some((*self).quota(layer, sparsity))
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        (*self).choose(layers, demand, 1)
    }
}

/// [`NOfM`] along the output axis: of each M consecutive outputs, the N with the largest scores keep their weight for
/// an input.
///
/// # References
/// JaxPruner's `NByM` along the last axis of its weights (arXiv:2304.14082).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputNOfM(pub NOfM);

impl Structure for OutputNOfM {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        if is_transposed(layer) {
            return Err(
                "it is a transposed convolution, where the output axis is the second, not the first"
                    .into(),
            );
        }
        self.0.check("output", layer.shape.first().copied())
    }

    fn quota(&self, layer: &LayerInfo, sparsity: Sparsity) -> Option<u64> {
        Some(self.0.quota(layer, sparsity))
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        self.0.choose(layers, demand, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chosen, info};
    use super::*;

    #[test]
    fn groups_lie_along_either_axis() {
        let (info, one_of_two) = (info(&[4, 2]), NOfM { n: 1, m: 2 });
        let scores = [1.0, 4.0, 3.0, -4.0, -0.2, 0.1, 0.2, 0.3];
        assert_eq!(chosen(&one_of_two, &[(&info, &scores)], 4), [[1, 3, 4, 7]]);
        // Columns (1, 3), (4, -4), (-0.2, 0.2) and (0.1, 0.3); ties go to the lower index.
        let output = OutputNOfM(one_of_two);
        assert_eq!(chosen(&output, &[(&info, &scores)], 4), [[1, 2, 4, 7]]);
        assert_eq!(Structure::quota(&output, &info, Sparsity::new(0.5).unwrap()), Some(4));
        let refused = OutputNOfM(NOfM { n: 1, m: 3 });
        let reason = Structure::check(&refused, &info).unwrap_err();
        assert!(reason.contains("output axis has 4 weights"), "{reason}");
        let kind = LayerKind::ConvTranspose { groups: 1 };
        let transposed = LayerInfo { kind, shape: vec![4, 2, 1], ..info };
        for structure in [&one_of_two as &dyn Structure, &output] {
            assert!(structure.check(&transposed).unwrap_err().contains("transposed"));
        }
    }
}
