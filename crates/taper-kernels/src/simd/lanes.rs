//! Sixteen floats, which every instruction set computes alike.

/// Floats of a vector, and images of a block.
pub const LANES: usize = 16;

/// A vector: pixels of a row or of rows, or the same pixel of sixteen images.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All zero.
    pub const ZERO: Self = Self([0.0; LANES]);
}
