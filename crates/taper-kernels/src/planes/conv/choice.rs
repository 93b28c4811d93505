//! Which tiles can compute a convolution.

use crate::planes::{
    layout::Layout,
    spec::{ConvSpec, TapLists},
};

/// What is computed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Which pixels its channels have weights for.
    pub lists: TapLists,
    /// Vectors of each output channel.
    pub vectors: usize,
    /// Output channels.
    pub each: usize,
}

/// The kind of rows of planes whose rows have zeros behind them: a shift takes these from one row to the next.
pub(in crate::planes) const PADDED: usize = 255;
/// The kind of rows of planes whose rows lie one behind the other: masks set what a shift takes in from another row to 0.
pub(in crate::planes) const MASKED: usize = 0;

/// Vectors of a tile and output channels at a time: those that leave registers for a weight and pixels, where there are
/// thirty-two of them or a few.
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

/// The tiles for vectors of so many floats.
const fn table(lanes: usize, lists: TapLists) -> &'static [(usize, usize)] {
    let has_many = lanes == 16 || cfg!(target_arch = "aarch64");
    match (lists, has_many) {
        (TapLists::Own, true) => &OWN,
        (TapLists::Own, false) => &OWN_IN_FEW,
        (TapLists::Shared, true) => &SHARED,
        (TapLists::Shared, false) => &SHARED_IN_FEW,
    }
}

/// Whether there may be planes for a tile: of vectors of so many floats, at most so many of which make a plane. Kernels are
/// compiled for these alone.
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
    /// Whether sums can be shifted along rows of so many vectors.
    pub fn shifts_rows(lanes: usize, vectors: usize) -> bool {
        table(lanes, TapLists::Own).iter().any(|(tile, _)| tile.is_multiple_of(vectors))
    }

    /// The tiles that can compute a convolution, in the order of what they cost by rule. All give the same bits, but for the
    /// sign of a 0. Rows of odd numbers of vectors have no tile whose weights are shared.
    pub fn choices(spec: &ConvSpec<'_>, lists: TapLists) -> Vec<Self> {
        let units = Units::of(spec);
        let table = table(spec.layout.lanes, lists).iter();
        let tiles = table.map(|&(vectors, each)| Self { lists, vectors, each });
        let mut tiles: Vec<Self> = tiles.filter(|tile| units.fit(*tile)).collect();
        tiles.sort_by_key(|tile| tile.cost(&units, spec.outputs.count()));
        tiles
    }

    /// What all tiles cost: their vectors for all channels, and something for each itself.
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

/// What tiles are made of: rows if sums are shifted along them, else vectors.
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

    /// Whether tiles are whole units of the plane, with registers for a shift.
    pub(super) fn fit(&self, Tile { vectors, each, .. }: Tile) -> bool {
        let has_room = !self.is_shifted || (vectors, each) != (4, 4);
        vectors.is_multiple_of(self.vectors) && vectors / self.vectors <= self.n && has_room
    }
}
