//! How the planes of a value lie in memory.

/// Planes of one size, columns in the lanes: a row is a whole number of vectors, or a vector is a whole number of rows. Lanes
/// behind the last column or row are 0. In front of each plane and behind the last are `halo` zeros, which stand for the rows
/// above and below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Rows of a plane.
    pub rows: usize,
    /// Columns of a plane.
    pub columns: usize,
    /// Floats from one row to the next.
    pub pitch: usize,
    /// Floats between planes, a multiple of the lanes.
    pub halo: usize,
    /// Floats of a vector: the longest of the machine that a plane, rounded up to a power of two, fills. So planes of shorter
    /// vectors than the longest are one vector, or two of one float.
    pub lanes: usize,
}

impl Layout {
    /// Vectors of a plane.
    pub fn vectors(&self) -> usize {
        (self.rows * self.pitch).div_ceil(self.lanes)
    }

    /// Floats from one plane to the next.
    pub fn stride(&self) -> usize {
        self.vectors() * self.lanes + self.halo
    }

    /// Whether each lane of each vector is a pixel.
    pub fn is_full(&self) -> bool {
        self.pitch == self.columns && (self.rows * self.pitch).is_multiple_of(self.lanes)
    }
}
