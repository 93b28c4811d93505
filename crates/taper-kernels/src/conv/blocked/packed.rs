//! Rows of what a convolution reads, packed into the cache with zeros around them.

use crate::{
    fused::Rows,
    lanes::{Lanes, Plane, clear_tail},
    simd::Simd,
    sizes::signed,
};
use std::ops::Range;

/// Rows of a source, each channel with zeros around its columns.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pixels: &'a [Lanes],
    /// The row that comes first.
    first: isize,
    /// Pixels of a row.
    row: usize,
    left: usize,
}

impl Packed<'_> {
    /// Place of a row's first source column, in pixels.
    pub(super) fn place(&self, row: isize) -> isize {
        (row - self.first) * signed(self.row) + signed(self.left)
    }

    pub(super) fn pixels(&self) -> &[Lanes] {
        self.pixels
    }
}

/// The zeros beside packed rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowPadding {
    pub(super) left: usize,
    /// Columns with the zeros on both sides.
    pub(super) width: usize,
}

/// Packed rows that move down over a block, so that a band takes over what it shares with the one above.
#[derive(Default)]
pub(super) struct RowWindow {
    pixels: Vec<Lanes>,
    /// The rows that are there.
    rows: Range<isize>,
}

impl RowWindow {
    /// Forgets its rows, before it is used for another block or source.
    pub(super) fn clear(&mut self) {
        self.rows = 0..0;
    }

    /// Moves to `rows`, of `row_len` pixels each, and gives the first one that is not there.
    fn move_to(&mut self, rows: &Range<isize>, row_len: usize) -> isize {
        let len = rows.len() * row_len;
        if self.pixels.len() < len {
            self.pixels.resize(len, Lanes::ZERO);
        }
        let mut first = rows.start;
        if self.rows.contains(&rows.start) {
            first = self.rows.end.min(rows.end);
            let skipped = (rows.start - self.rows.start) as usize * row_len;
            let n_kept = (first - rows.start) as usize * row_len;
            self.pixels.copy_within(skipped..skipped + n_kept, 0);
        }
        self.rows = rows.clone();
        first
    }
}

/// Packs `rows` of a block into `window`, or gives the stored ones if they can serve as they are.
///
/// # Safety
/// The instructions of `S` must be available.
#[inline(always)]
pub(super) unsafe fn pack<'a, S: Simd, R: Rows>(
    source: &'a R,
    plane: &Plane,
    block: usize,
    rows: Range<isize>,
    padding: RowPadding,
    window: &'a mut RowWindow,
) -> Packed<'a> {
    let row_len = plane.channels * padding.width;
    let is_inside = rows.start >= 0 && rows.end <= signed(plane.height);
    if let Some(stored) = source.stored().filter(|_| is_inside && padding.width == plane.width) {
        let start = block * plane.block() + rows.start as usize * row_len;
        let pixels = &stored[start..start + rows.len() * row_len];
        return Packed { pixels, first: rows.start, row: row_len, left: 0 };
    }
    let first = window.move_to(&rows, row_len);
    let pixels = &mut window.pixels[..rows.len() * row_len];
    let new = &mut pixels[(first - rows.start) as usize * row_len..];
    if row_len > 0 {
        for (out, y) in new.chunks_exact_mut(row_len).zip(first..) {
            if y < 0 || y >= signed(plane.height) {
                out.fill(Lanes::ZERO);
                continue;
            }
            let start = block * plane.block() + y as usize * plane.row();
            for (channel, out) in out.chunks_exact_mut(padding.width).enumerate() {
                let (left, rest) = out.split_at_mut(padding.left);
                let (inside, right) = rest.split_at_mut(plane.width);
                left.fill(Lanes::ZERO);
                right.fill(Lanes::ZERO);
                // SAFETY: the row lies within the plane; the caller vouches for the instructions.
                unsafe { source.fill::<S>(start + channel * plane.width, channel, inside) };
            }
        }
    }
    clear_tail(new, plane.filled(block));
    Packed { pixels, first: rows.start, row: row_len, left: padding.left }
}
