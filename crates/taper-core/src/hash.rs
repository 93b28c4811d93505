//! The 64-bit FNV-1a hash, which is the same on each machine and in each version of Rust. It is no protection against
//! deliberate collisions.
//!
//! # References
//! Fowler, Noll and Vo.

/// The hash of some bytes.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_from(FNV, bytes)
}

/// The hash of no bytes.
pub const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues a hash with more bytes.
pub fn fnv1a_from(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_does_not_change_with_the_version_of_this_program() {
        // Finished runs are found by this hash. If it changes, users have to repeat their runs.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a_from(fnv1a(b"foo"), b"bar"), fnv1a(b"foobar"));
    }
}
