//! The recipe of a convolution: everything needed to pack a kernel.

use super::{Term, taps::Tap};
use crate::value::Value;
use taper_kernels::planes::{Columns, Epilogue, WindowKind};

/// A sum of convolutions before packing. It does not store the sources of each output channel, because they take
/// several times the memory of the weights.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The convolutions, with inputs in the layout for the kernel. Strided inputs are
    /// `[channel][row phase][column phase]`.
    pub(super) terms: Vec<Term<'a>>,
    /// For each convolution, the taps of a kernel.
    pub(super) taps: Vec<Vec<Tap>>,
    pub(super) bias: Vec<f32>,
    pub(super) addends: Vec<Value>,
    pub(super) finish: Epilogue,
    pub(super) columns: Columns,
    pub(super) windows: WindowKind,
    pub(super) to: Value,
    /// Number of weights other than 0, and number of all weights.
    pub(crate) counts: [usize; 2],
}

impl Recipe<'_> {
    /// Largest shift of taps to the left and to the right, in columns.
    pub(super) fn reach(&self) -> [usize; 2] {
        let shifts = || self.taps.iter().flatten().map(|tap| tap.shift);
        let [left, right] = [shifts().map(|s| -s).max(), shifts().max()];
        [left, right].map(|reach| reach.unwrap_or(0).max(0) as usize)
    }
}
