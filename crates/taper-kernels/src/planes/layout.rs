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
    ///
    /// # Panics
    /// If a plane is larger than memory: kernels could otherwise read more than they have checked.
    pub fn vectors(&self) -> usize {
        self.pixels().div_ceil(self.lanes)
    }

    /// Floats of the vectors of a plane.
    ///
    /// # Panics
    /// If a plane is larger than memory.
    pub fn plane_len(&self) -> usize {
        let len = self.vectors().checked_mul(self.lanes);
        len.unwrap_or_else(|| panic!("{self:?} is larger than memory"))
    }

    /// Floats from one plane to the next.
    ///
    /// # Panics
    /// If a plane is larger than memory.
    pub fn stride(&self) -> usize {
        let stride = self.plane_len().checked_add(self.halo);
        stride.unwrap_or_else(|| panic!("{self:?} is larger than memory"))
    }

    /// Floats of all rows of a plane.
    fn pixels(&self) -> usize {
        let pixels = self.rows.checked_mul(self.pitch);
        pixels.unwrap_or_else(|| panic!("{self:?} is larger than memory"))
    }

    /// Whether a row is a whole number of vectors, or a vector a whole number of rows.
    pub fn is_whole(&self) -> bool {
        self.pitch.is_multiple_of(self.lanes) || self.lanes.is_multiple_of(self.pitch)
    }

    /// Whether each lane of each vector is a pixel.
    pub fn is_full(&self) -> bool {
        self.pitch == self.columns && self.pixels().is_multiple_of(self.lanes)
    }
}

/// Checks that `n` floats from a place on lie in an arena.
///
/// # Panics
/// If they do not.
pub(super) fn expect_inside(at: u32, n: usize, arena: usize) {
    // The sum of place and length could overflow.
    let room = usize::try_from(at).ok().and_then(|at| arena.checked_sub(at));
    assert!(room.is_some_and(|room| n <= room), "{at} is outside of the arena");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn floats_are_inside_up_to_the_end() {
        let is_inside = |at, n, arena| catch_unwind(|| expect_inside(at, n, arena)).is_ok();
        assert!(is_inside(0, 4, 4) && is_inside(3, 1, 4) && is_inside(4, 0, 4));
        assert!(!is_inside(1, 4, 4) && !is_inside(5, 0, 4) && !is_inside(u32::MAX, usize::MAX, 4));
    }

    #[test]
    fn planes_larger_than_memory_are_refused() {
        let layout = Layout { rows: usize::MAX / 4, columns: 8, pitch: 8, halo: 0, lanes: 4 };
        assert!(catch_unwind(|| layout.vectors()).is_err());
        assert!(catch_unwind(|| layout.is_full()).is_err());
        let halo = Layout { rows: 1, halo: usize::MAX, ..layout };
        assert!(catch_unwind(|| halo.stride()).is_err());
    }
}
