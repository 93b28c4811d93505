//! What a kernel of a convolution is packed from.

use super::{Term, taps::Tap};
use crate::value::Value;
use taper_kernels::planes::{Columns, Epilogue, WindowKind};

/// A sum of convolutions as it is packed: no taps yet, which take several times the memory of weights.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// With values in the layout that they are read in: those of strided ones are `[channel][row phase][column phase]`.
    pub(super) terms: Vec<Term<'a>>,
    /// The taps of a kernel of each.
    pub(super) taps: Vec<Vec<Tap>>,
    pub(super) bias: Vec<f32>,
    pub(super) addends: Vec<Value>,
    pub(super) finish: Epilogue,
    pub(super) columns: Columns,
    pub(super) windows: WindowKind,
    pub(super) to: Value,
    /// Weights that are not 0, and all of them.
    pub(crate) counts: [usize; 2],
}

impl Recipe<'_> {
    /// Columns to the left and to the right that taps are shifted by at most.
    pub(super) fn reach(&self) -> [usize; 2] {
        let shifts = || self.taps.iter().flatten().map(|tap| tap.shift);
        let [left, right] = [shifts().map(|s| -s).max(), shifts().max()];
        [left, right].map(|reach| reach.unwrap_or(0).max(0) as usize)
    }
}
