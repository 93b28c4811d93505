//! N weights of each M.

use super::{Demand, Scored, Structure};
use crate::cut::Chosen;
use taper_core::{LayerInfo, LayerKind, Sparsity};
use taper_kernels::mask::Mask;

/// Of each M weights that lie side by side along the input axis, the N of the largest scores; ties by index. While a schedule
/// asks for less than the sparsity of the pattern, more than N are kept, as many in each M.
///
/// # References
/// Zhou et al., "Learning N:M fine-grained structured sparse networks" (arXiv:2102.04010).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NOfM {
    /// Weights that are kept of each group, at least 1.
    pub n: usize,
    /// Weights of a group, more than `n`.
    pub m: usize,
}

impl NOfM {
    /// The sparsity that the pattern has.
    pub fn sparsity(self) -> Sparsity {
        Sparsity::of(self.n as u64, self.m as u64)
    }

    /// How many of each M are kept at a sparsity.
    fn kept(self, sparsity: Sparsity) -> usize {
        let wanted = ((1.0 - sparsity.get()) * self.m as f64).round() as usize;
        wanted.clamp(self.n, self.m)
    }
}

impl Structure for NOfM {
    fn check(&self, layer: &LayerInfo) -> Result<(), String> {
        let Self { n, m } = self;
        if *n == 0 || n >= m {
            return Err(format!("{n}:{m} keeps {n} of {m}; give at least 1, and fewer than all"));
        }
        match (layer.kind, layer.shape.get(1)) {
            (LayerKind::ConvTranspose { .. }, _) => {
                Err("the input axis of a transposed convolution is its first".into())
            }
            (_, Some(inputs)) if inputs.is_multiple_of(*m) => Ok(()),
            (_, inputs) => {
                let inputs = inputs.copied().unwrap_or(0);
                Err(format!("its input axis has {inputs} weights, which is no multiple of {m}"))
            }
        }
    }

    fn quota(&self, layer: &LayerInfo, sparsity: Sparsity) -> Option<u64> {
        Some(layer.n_weights() / self.m as u64 * self.kept(sparsity) as u64)
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        let masks = layers.iter().map(|layer| {
            let n_groups = layer.scores.len() / self.m;
            // A group's layers keep equally many of each M.
            let n_keep = (demand.n_keep as usize).checked_div(n_groups).unwrap_or(0);
            let kernel: usize = layer.info.shape.iter().skip(2).product();
            let mut mask = Mask::empty(layer.scores.len());
            // Groups of consecutive inputs, at each output and place of the kernel.
            for first in (0..layer.scores.len()).step_by((self.m * kernel).max(1)) {
                for place in first..first + kernel {
                    let index = |i: usize| place + i * kernel;
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
