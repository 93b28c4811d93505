//! Sixteen floats: the vector that every instruction set computes on.

/// Floats per vector, and images per block.
pub const LANES: usize = 16;

/// A vector: pixels of one or several rows, or the same pixel of sixteen images.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All zero.
    pub const ZERO: Self = Self([0.0; LANES]);
}
