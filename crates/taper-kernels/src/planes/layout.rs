//! Memory layout of the planes of a value.

/// Planes of equal size, with columns in the SIMD lanes: a row is a whole number of vectors, or a vector is a whole
/// number of rows. Lanes after the last column or row are 0. Before each plane and after the last are `halo` zeros,
/// which stand for the rows above and below.
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
    /// Floats per vector: the longest vector of the machine that a plane fills, if the plane is rounded up to a power
    /// of two. With any but the longest vectors, a plane is therefore one vector, or two vectors of one float.
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

    /// Whether a row is a whole number of vectors, or a vector a whole number of rows.
    pub fn is_whole(&self) -> bool {
        self.pitch.is_multiple_of(self.lanes) || self.lanes.is_multiple_of(self.pitch)
    }

    /// Whether each lane of each vector is a pixel.
    pub fn is_full(&self) -> bool {
        self.pitch == self.columns && (self.rows * self.pitch).is_multiple_of(self.lanes)
    }
}
