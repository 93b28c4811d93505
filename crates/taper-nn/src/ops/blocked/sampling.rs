//! Random choice of blocks for the estimated gradient of pruned weights.

use super::{super::cpu, MIN_BATCH, choice::Choice};
use crate::{Gate, Sampling};
use candle_core::Tensor;
use taper_core::rng::Rng;
use taper_kernels::{lanes::LANES, mask::Mask};

/// The live set, if it is so small that its exact gradient costs less than an estimate.
pub(super) fn few_live(gate: &Gate, choice: Choice) -> Option<&Mask> {
    gate.live.as_deref().filter(|live| choice.is_grad_sparse(live.density()))
}

/// The number of sampled blocks, of `n`; `None` if the gradient of pruned weights is exact. Above half density an
/// estimate saves no work.
fn n_sampled(gate: &Gate, n: usize, choice: Choice) -> Option<usize> {
    let share = gate.sampling?.share;
    let n_sampled = ((share * n as f64).round() as usize).clamp(1, n.max(1));
    let is_exact = n_sampled >= n || gate.mask.density() > 0.5 || few_live(gate, choice).is_some();
    (!is_exact).then_some(n_sampled)
}

/// Which of `n` blocks are sampled for pruned weights, and the factor that makes the estimate unbiased. `None` if the
/// gradient is exact.
pub(super) fn sampled(gate: &Gate, n: usize, choice: Choice) -> Option<(Vec<bool>, f32)> {
    let (n_sampled, Sampling { key, .. }) = (n_sampled(gate, n, choice)?, gate.sampling?);
    let mut blocks = vec![false; n];
    for &block in &Rng::from_state(key).permutation(n)[..n_sampled] {
        blocks[block] = true;
    }
    Some((blocks, n as f32 / n_sampled as f32))
}

/// The fraction of a batch's blocks, in `(0, 1]`, that contribute to the gradient of a layer's pruned weights; 1 if
/// it is exact.
///
/// It is the fraction in [`Gate::sampling`], rounded to whole blocks of sixteen images. It is 1 if an estimate would
/// save no time, or if there is no kernel for it. `choice` must be that of the pass.
pub fn sampled_share(gate: &Gate, weight: &Tensor, n_images: usize, choice: Choice) -> f64 {
    let n = n_images.div_ceil(LANES);
    match n_images >= MIN_BATCH && cpu::has_kernels(weight) {
        true => n_sampled(gate, n, choice).map_or(1.0, |n_sampled| n_sampled as f64 / n as f64),
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Result};
    use std::sync::Arc;
    use taper_kernels::threshold::Threshold;

    #[test]
    fn the_fraction_is_of_whole_blocks_and_1_where_the_gradient_is_exact() -> Result<()> {
        let mask = |n_kept: usize| {
            let mut mask = Mask::full(100);
            mask.clear(n_kept..100);
            Arc::new(mask)
        };
        let gate = |n_kept: usize, live: Option<usize>, share: Option<f64>| Gate {
            value: Threshold::Hard.into(),
            cut: 0.1,
            mask: mask(n_kept),
            live: live.map(mask),
            sampling: share.map(|share| Sampling { share, key: 3 }),
            grad_at_zero: 1.0,
            grad_at_cut: 1.0,
        };
        let weight = Tensor::zeros(100, DType::F32, &Device::Cpu)?;
        let share =
            |gate: &Gate, n_images| sampled_share(gate, &weight, n_images, Choice::Measured);
        // Two of eight blocks are sampled; one of three.
        let quarter = gate(10, None, Some(0.25));
        assert_eq!((share(&quarter, 128), share(&quarter, 40)), (0.25, 1.0 / 3.0));
        let (blocks, scale) = sampled(&quarter, 8, Choice::Measured).expect("a sample");
        assert_eq!((blocks.iter().filter(|&&is_in| is_in).count(), scale), (2, 4.0));
        // One block, and a batch that is computed image by image.
        assert_eq!((share(&quarter, 16), share(&quarter, 7)), (1.0, 1.0));
        for exact in [
            gate(10, None, None),
            gate(10, None, Some(1.0)),
            gate(51, None, Some(0.25)),
            gate(10, Some(20), Some(0.25)),
        ] {
            assert_eq!(share(&exact, 128), 1.0, "{exact:?}");
            assert!(sampled(&exact, 8, Choice::Measured).is_none());
        }
        assert_eq!(share(&gate(10, Some(60), Some(0.25)), 128), 0.25);
        let double = weight.to_dtype(DType::F64)?;
        assert_eq!(sampled_share(&quarter, &double, 128, Choice::Measured), 1.0, "no kernels");
        Ok(())
    }
}
