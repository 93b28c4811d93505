//! The row layout of a convolution's inputs and output.

use super::Term;
use crate::{
    draft::Drafts,
    value::{Value, layout, natural_pitch},
};
use taper_kernels::planes::Tile;

/// The layout of rows, equal for all planes of a convolution.
pub(super) struct Rows {
    /// Floats from one row to the next.
    pub(super) pitch: usize,
    /// Whether taps in other columns are unaligned reads, with zeros between the rows. Otherwise sums are shifted.
    pub(super) is_flat: bool,
}

impl Drafts<'_> {
    /// Chooses a row layout that some tile supports, and that needs no copies of values if possible.
    pub(super) fn rows(
        &self,
        terms: &[Term<'_>],
        addends: &[&Value],
        [_, rows, columns]: [usize; 3],
    ) -> Rows {
        // A strided value is copied in any case, and its phases have fewer columns.
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
    /// Columns of the planes that it multiplies: of the value, or of one of its phases.
    fn columns(&self) -> usize {
        self.input.layout.columns.div_ceil(self.stride[1])
    }

    /// How many columns the taps reach beyond a row.
    pub(crate) fn reach(&self, columns: usize) -> usize {
        let left = self.padding[1] as i64;
        let right = ((self.dims[3] - 1) * self.dilation[1]) as i64 - left;
        let reach = (left.max(right).max(0) as usize).div_ceil(self.stride[1]);
        // Taps farther away only read padding.
        reach.min(columns.max(self.columns()))
    }
}
