//! The choice between dense and sparse kernels, per layer and direction.
//!
//! For the output and for the input gradient, dense and sparse kernels give the same bits, so only time matters. The
//! choice is measured: the first time that a layer has a density in some range, both kernels run on one block of
//! images. The faster one is used for this range. Kernels that round differently are chosen by rule, because equal runs
//! must give equal results. This applies to the gradient of all weights, and to Winograd convolution, see
//! [`winograd_density`].

use crate::Gate;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use taper_kernels::{
    conv::{
        ConvShape,
        blocked::{BlockedConv, InputGrad, Packing},
    },
    fused::{ActivationView, GradSource, Source},
    lanes::{LANES, Lanes},
    mask::Mask,
    tree::BatchShare,
};

/// How dense or sparse kernels are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// By measurement where it cannot change a bit, by rule elsewhere.
    #[default]
    Measured,
    /// Winograd convolution from the density of [`winograd_density`]; else sparse up to that of [`Direction::rule`], and
    /// dense above.
    ByRule,
    /// Always dense, without Winograd convolution.
    Dense,
    /// Always sparse.
    Sparse,
}

/// The result that is computed with packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The output.
    Forward,
    /// The gradient of the input.
    Input,
    /// The gradient of the weight, at some positions only.
    Weight,
}

impl Direction {
    /// The density up to which [`Choice::ByRule`] is sparse. At this density, both kernels took about the same time on
    /// the layers that we measured.
    pub fn rule(self) -> f64 {
        match self {
            Self::Forward | Self::Input => 0.6,
            Self::Weight => 0.3,
        }
    }
}

/// The density from which output and input gradient use Winograd convolution, zeros included; `None` if the shape does
/// not allow it, or a direct sum is faster at any density.
///
/// Winograd convolution needs a quarter of the multiplications of a direct sum, but its transforms cost more with few
/// channels. At these densities, it took about as long as sparse kernels with AVX-512 and AVX2, for 16 to 512 channels
/// and planes of 7×7 to 56×56 pixels.
pub fn winograd_density(conv: &BlockedConv) -> Option<f64> {
    if !conv.supports_winograd() {
        return None;
    }
    let shape = conv.shape();
    match shape.channels_in.min(shape.channels_out) {
        0..16 => None,
        16..32 => Some(0.6),
        32..128 => Some(0.4),
        _ => Some(0.25),
    }
}

/// A measured choice.
#[derive(Clone, Debug, PartialEq)]
pub struct PackingTimes {
    /// The layer, for a batch of one block.
    pub shape: ConvShape,
    /// The direction.
    pub direction: Direction,
    /// Fraction of the weights that were not 0.
    pub density: f64,
    /// Time of one block with dense weights.
    pub dense: Duration,
    /// Time of one block with sparse weights.
    pub sparse: Duration,
}

impl PackingTimes {
    /// The faster packing.
    pub fn packing(&self) -> Packing {
        if self.sparse <= self.dense { Packing::Sparse } else { Packing::Dense }
    }
}

type Key = (Direction, i32, [usize; 10]);

/// The measurements so far.
#[derive(Debug, Default)]
pub(super) struct Measurements(Mutex<BTreeMap<Key, PackingTimes>>);

/// The kept weights of a gate, if there is one, and the density: the fraction of kept weights, or of non-zero weights
/// if there is no gate.
pub(super) fn kept<'a>(gate: Option<&'a Gate>, weight: &[f32]) -> (Option<&'a Mask>, f64) {
    let n_not_zero = || weight.iter().filter(|&&w| w != 0.0).count();
    let share = || n_not_zero() as f64 / weight.len().max(1) as f64;
    let kept = gate.map(|gate| &*gate.mask);
    (kept, kept.map_or_else(share, Mask::density))
}

impl Choice {
    /// Whether the gradient of a weight is computed only for the live set, where `density` is the fraction of live
    /// weights.
    pub(super) fn is_grad_sparse(self, density: f64) -> bool {
        self.decided(Direction::Weight, density, None) == Some(Packing::Sparse)
    }

    /// The packing, if it does not need a measurement. `winograd` is the density from which Winograd convolution is used.
    fn decided(self, direction: Direction, density: f64, winograd: Option<f64>) -> Option<Packing> {
        let by_rule = if density <= direction.rule() { Packing::Sparse } else { Packing::Dense };
        Some(match self {
            Self::Dense => Packing::Dense,
            Self::Sparse => Packing::Sparse,
            _ if direction == Direction::Weight => by_rule,
            _ if winograd.is_some_and(|from| density >= from) => Packing::Winograd,
            _ if density == 1.0 => Packing::Dense,
            Self::ByRule => by_rule,
            Self::Measured if density == 0.0 => Packing::Sparse,
            Self::Measured => return None,
        })
    }
}

impl Measurements {
    /// All measurements.
    pub(super) fn all(&self) -> Vec<PackingTimes> {
        self.lock().values().cloned().collect()
    }

    /// The packing of a layer's weights.
    #[allow(
        clippy::disallowed_methods,
        reason = "decides which densities share a measurement, and changes no bit"
    )]
    pub(super) fn packing(
        &self,
        choice: Choice,
        conv: &BlockedConv,
        direction: Direction,
        density: f64,
    ) -> Packing {
        if let Some(packing) = choice.decided(direction, density, winograd_density(conv)) {
            return packing;
        }
        let shape = ConvShape { batch: LANES, ..*conv.shape() };
        // Ranges of densities: half an octave each.
        let range = (2.0 * density.log2()).round() as i32;
        let key = (direction, range, sizes(&shape));
        if let Some(known) = self.lock().get(&key) {
            return known.packing();
        }
        let found = measure(&shape, direction, density);
        tracing::debug!(?found, "timed dense and sparse kernels");
        let packing = found.packing();
        self.lock().insert(key, found);
        packing
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, PackingTimes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sizes(shape: &ConvShape) -> [usize; 10] {
    let ConvShape { batch, channels_in, channels_out, height, width, .. } = *shape;
    let ConvShape { kernel, stride, padding, dilation, groups, .. } = *shape;
    let mixed = padding << 32 | stride;
    [batch, channels_in, channels_out, height, width, kernel.0, kernel.1, mixed, dilation, groups]
}

/// Times both kernels on one block of zeros, with evenly spread weights of this density.
fn measure(shape: &ConvShape, direction: Direction, density: f64) -> PackingTimes {
    let conv = BlockedConv::new(*shape);
    let mut weight = vec![0.0; shape.n_weights()];
    let mut sum = 0.0;
    for w in &mut weight {
        sum += density;
        if sum >= 1.0 {
            sum -= 1.0;
            *w = 1.0;
        }
    }
    let mut input = vec![Lanes::ZERO; conv.input().len()];
    let mut output = vec![Lanes::ZERO; conv.output().len()];
    let mut time = |packing: Packing| {
        let weights = match direction {
            Direction::Input => conv.pack_transposed(&weight, None, packing),
            Direction::Forward | Direction::Weight => conv.pack(&weight, None, packing),
        };
        // The first run warms the caches. The fastest of the others was disturbed least.
        let times = (0..4).map(|_| {
            let begun = Instant::now();
            if direction == Direction::Input {
                let to = InputGrad::new(&weights, &mut input, false);
                // Without a weight gradient, the values of the input are not read.
                let source = Source::Plain(ActivationView::Whole(&[]));
                let share = BatchShare::whole(shape.batch);
                conv.backward(source, GradSource::Plain(&output), Some(to), None, share);
            } else {
                conv.forward(&weights, Source::Plain((&input).into()), None, &mut output);
            }
            begun.elapsed()
        });
        times.skip(1).min().unwrap_or_default()
    };
    let (dense, sparse) = (time(Packing::Dense), time(Packing::Sparse));
    PackingTimes { shape: *shape, direction, density, dense, sparse }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_made_once_for_a_range_of_densities() {
        let measured = Measurements::default();
        let conv =
            BlockedConv::new(ConvShape { height: 3, width: 3, ..ConvShape::linear(40, 21, 23) });
        let packing =
            |direction, density| measured.packing(Choice::Measured, &conv, direction, density);
        let count = || measured.all().len();
        let first = packing(Direction::Forward, 0.100);
        assert_eq!(packing(Direction::Forward, 0.101), first);
        assert_eq!(count(), 1);
        packing(Direction::Forward, 0.01);
        packing(Direction::Input, 0.01);
        assert_eq!(count(), 3);
        packing(Direction::Input, 1.0);
        packing(Direction::Weight, 0.01);
        assert_eq!(count(), 3, "dense weights and choices by rule are not measured");
    }

    #[test]
    fn a_rule_selects_winograd_convolution_by_channels_and_density() {
        let conv = |channels, height, stride| {
            let linear = ConvShape::linear(16, channels, 2 * channels);
            let shape = ConvShape { height, width: height, kernel: (3, 3), padding: 1, ..linear };
            BlockedConv::new(ConvShape { stride, ..shape })
        };
        let from = |channels| winograd_density(&conv(channels, 8, 1));
        assert_eq!(
            [8, 15, 16, 31, 32, 127, 128, 512].map(from),
            [None, None, Some(0.6), Some(0.6), Some(0.4), Some(0.4), Some(0.25), Some(0.25)]
        );
        assert_eq!(winograd_density(&conv(64, 8, 2)), None);
        assert_eq!(winograd_density(&conv(64, 3, 1)), None, "lanes are images");

        let measured = Measurements::default();
        let packing = |choice, channels, density| {
            let conv = conv(channels, 8, 1);
            let [forward, input] = [Direction::Forward, Direction::Input]
                .map(|direction| measured.packing(choice, &conv, direction, density));
            assert_eq!(forward, input);
            forward
        };
        for choice in [Choice::Measured, Choice::ByRule] {
            assert_eq!(packing(choice, 64, 0.4), Packing::Winograd);
            assert_eq!(packing(choice, 8, 1.0), Packing::Dense);
        }
        assert_eq!(packing(Choice::ByRule, 64, 0.399), Packing::Sparse);
        assert_eq!(packing(Choice::ByRule, 8, 0.7), Packing::Dense);
        assert_eq!(packing(Choice::Dense, 64, 1.0), Packing::Dense);
        assert_eq!(packing(Choice::Sparse, 64, 1.0), Packing::Sparse);
        assert!(measured.all().is_empty());
    }
}
