//! Which tiles can compute a convolution.

use crate::planes::{
    layout::Layout,
    spec::{ConvSpec, TapLists},
};

/// A register tile: what a kernel computes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Which pixels its channels have weights for.
    pub lists: TapLists,
    /// Vectors of each output channel.
    pub vectors: usize,
    /// Output channels.
    pub each: usize,
}

/// Kind of rows: each row has zeros after it, and a shift moves only these zeros into the next row.
pub(in crate::planes) const PADDED: usize = 255;
/// Kind of rows: rows follow each other without zeros. Masks remove the values that a shift moves into another row.
pub(in crate::planes) const MASKED: usize = 0;

/// Vectors of a tile and output channels at a time. They leave registers for a weight and pixels, on machines with
/// thirty-two vector registers and (`_IN_FEW`) on machines with fewer.
pub(super) const OWN: [(usize, usize); 14] = [
    (16, 1),
    (15, 1),
    (14, 1),
    (12, 1),
    (10, 1),
    (8, 1),
    (7, 1),
    (6, 1),
    (5, 1),
    (4, 4),
    (4, 2),
    (3, 1),
    (2, 4),
    (1, 8),
];
pub(super) const OWN_IN_FEW: [(usize, usize); 10] =
    [(12, 1), (10, 1), (8, 1), (7, 1), (6, 1), (5, 1), (4, 2), (3, 1), (2, 4), (1, 8)];
pub(super) const SHARED: [(usize, usize); 5] = [(6, 4), (4, 6), (3, 8), (2, 12), (1, 24)];
pub(super) const SHARED_IN_FEW: [(usize, usize); 4] = [(4, 3), (3, 4), (2, 6), (1, 12)];

/// The tiles for vectors of `lanes` floats.
const fn table(lanes: usize, lists: TapLists) -> &'static [(usize, usize)] {
    let has_many = lanes == 16 || cfg!(target_arch = "aarch64");
    match (lists, has_many) {
        (TapLists::Own, true) => &OWN,
        (TapLists::Own, false) => &OWN_IN_FEW,
        (TapLists::Shared, true) => &SHARED,
        (TapLists::Shared, false) => &SHARED_IN_FEW,
    }
}

/// Whether planes can use a tile. Their vectors have `lanes` floats, and at most `most_vectors` vectors make a plane.
/// Kernels are compiled only for these tiles.
pub(in crate::planes) const fn is_needed(
    lanes: usize,
    most_vectors: usize,
    lists: TapLists,
    vectors: usize,
    each: usize,
) -> bool {
    let table = table(lanes, lists);
    let mut i = 0;
    while i < table.len() {
        if table[i].0 == vectors && table[i].1 == each {
            return vectors <= most_vectors;
        }
        i += 1;
    }
    false
}

impl Tile {
    /// Whether sums can be shifted along rows of `vectors` vectors.
    pub fn shifts_rows(lanes: usize, vectors: usize) -> bool {
        table(lanes, TapLists::Own).iter().any(|(tile, _)| tile.is_multiple_of(vectors))
    }

    /// The tiles that can compute a convolution, in the order of their estimated cost. All compute the same bits,
    /// except for the sign of a 0. For some numbers of vectors per row, no tile has shared weights.
    pub fn choices(spec: &ConvSpec<'_>, lists: TapLists) -> Vec<Self> {
        let units = Units::of(spec);
        let table = table(spec.layout.lanes, lists).iter();
        let tiles = table.map(|&(vectors, each)| Self { lists, vectors, each });
        let mut tiles: Vec<Self> = tiles.filter(|tile| units.fit(*tile)).collect();
        tiles.sort_by_key(|tile| tile.cost(&units, spec.outputs.count()));
        tiles
    }

    /// Estimated cost of all tiles: their vectors for all channels, plus a constant per tile.
    fn cost(self, units: &Units, n_outputs: usize) -> usize {
        let (own, channels) = match self.lists {
            TapLists::Own => (3, 1),
            TapLists::Shared => (1, n_outputs.next_multiple_of(self.each)),
        };
        units.n.div_ceil(self.vectors / units.vectors) * (self.vectors * channels + own)
    }

    /// The kind of rows that its kernel computes.
    pub(super) fn row(self, spec: &ConvSpec<'_>) -> usize {
        let Layout { columns, pitch, lanes, .. } = *spec.layout;
        let [up, down] = spec.reach;
        let has_zeros = pitch > columns.max(spec.columns.most());
        let is_whole = matches!(pitch / lanes, 1 | 2 | 4)
            && matches!(self.vectors, 4 | 8 | 16)
            && self.each != 2;
        match has_zeros {
            _ if !spec.is_shifted() => PADDED,
            true if down.max(up) == 1 => PADDED,
            false if is_whole => pitch / lanes,
            _ => MASKED,
        }
    }
}

/// The units of tiles: rows if sums are shifted along them, else vectors.
pub(super) struct Units {
    /// Vectors of a unit.
    pub(super) vectors: usize,
    /// Units of a plane.
    pub(super) n: usize,
    is_shifted: bool,
}

impl Units {
    pub(super) fn of(spec: &ConvSpec<'_>) -> Self {
        let (layout, is_shifted) = (spec.layout, spec.is_shifted());
        let per_row = (layout.pitch / layout.lanes).max(1);
        let vectors = if is_shifted { per_row } else { 1 };
        Self { vectors, n: layout.vectors() / vectors, is_shifted }
    }

    /// Whether a tile is a whole number of units, fits into the plane, and has registers for a shift.
    pub(super) fn fit(&self, Tile { vectors, each, .. }: Tile) -> bool {
        let has_room = !self.is_shifted || (vectors, each) != (4, 4);
        vectors.is_multiple_of(self.vectors) && vectors / self.vectors <= self.n && has_room
    }
}
