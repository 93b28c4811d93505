//! Sixteen floats, which every instruction set computes alike.

/// Images in a block.
pub const LANES: usize = 16;

/// The same pixel of sixteen images.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All zero.
    pub const ZERO: Self = Self([0.0; LANES]);
}
