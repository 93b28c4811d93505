//! The rows that a convolution reads and writes.

use super::Term;
use crate::{
    draft::Drafts,
    value::{Value, layout, natural_pitch},
};
use taper_kernels::planes::Tile;

/// Rows of all planes of a convolution.
pub(super) struct Rows {
    /// Floats from one to the next.
    pub(super) pitch: usize,
    /// Whether pixels in other columns are read where they lie, with zeros between the rows.
    pub(super) is_flat: bool,
}

impl Drafts<'_> {
    /// Chooses rows that no value has to be copied for, if possible, and that tiles fit.
    pub(super) fn rows(
        &self,
        terms: &[Term<'_>],
        addends: &[&Value],
        [_, rows, columns]: [usize; 3],
    ) -> Rows {
        // A phase of a value with a stride has fewer columns, and is a copy anyway.
        let of_term = |term: &Term<'_>| match term.stride {
            [1, 1] => natural_pitch(self.lanes, term.columns()).max(term.input.layout.pitch),
            _ => natural_pitch(self.lanes, term.columns()),
        };
        let pitches = terms.iter().map(of_term).chain(addends.iter().map(|a| a.layout.pitch));
        let pitch = pitches.fold(natural_pitch(self.lanes, columns), usize::max);
        let reach = terms.iter().map(|term| term.reach(columns)).max().unwrap_or(0);
        let lanes = layout(self.lanes, rows, columns, pitch).lanes;
        let is_flat = reach > 0 && pitch >= lanes && !Tile::shifts_rows(lanes, pitch / lanes);
        if !is_flat {
            return Rows { pitch, is_flat };
        }
        let widest = terms.iter().map(Term::columns).fold(columns, usize::max);
        Rows { pitch: pitch.max((widest + reach).next_multiple_of(self.lanes[0])), is_flat }
    }
}

impl Term<'_> {
    /// Columns of the planes that it multiplies: those of the value, or of a phase of it.
    fn columns(&self) -> usize {
        self.input.layout.columns.div_ceil(self.stride[1])
    }

    /// How far the taps of a row reach beyond it.
    pub(crate) fn reach(&self, columns: usize) -> usize {
        let left = self.padding[1] as i64;
        let right = ((self.dims[3] - 1) * self.dilation[1]) as i64 - left;
        let reach = (left.max(right).max(0) as usize).div_ceil(self.stride[1]);
        // Taps farther away see padding alone.
        reach.min(columns.max(self.columns()))
    }
}
