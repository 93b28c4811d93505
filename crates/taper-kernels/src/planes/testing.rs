//! Helpers of the tests of planes.

use crate::Variant;

/// Pseudo-random numbers.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// From 0 to `n − 1`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % n
    }

    /// From −1 to 1.
    pub(crate) fn next(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }

    /// `n` numbers from −1 to 1.
    pub(crate) fn many(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// Maximum vectors of `lanes` floats per plane: larger planes have the longest vectors of the machine.
pub(super) fn most_vectors(variant: Variant, lanes: usize) -> usize {
    match lanes {
        _ if lanes == variant.lanes()[0] => usize::MAX,
        1 => 2,
        _ => 1,
    }
}
