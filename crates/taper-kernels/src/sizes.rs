//! Checked arithmetic on sizes and memory offsets: an overflow would pass for a small size.

/// The product of sizes.
///
/// # Panics
/// If it is more than memory can hold.
pub(crate) fn product<const N: usize>(sizes: [usize; N]) -> usize {
    checked_product(sizes)
        .unwrap_or_else(|| panic!("the product of {sizes:?} is more than memory holds"))
}

/// The product of sizes, or `None` if it is more than memory can hold.
pub(crate) fn checked_product<const N: usize>(sizes: [usize; N]) -> Option<usize> {
    let whole = sizes.into_iter().try_fold(1usize, usize::checked_mul)?;
    isize::try_from(whole).is_ok().then_some(whole)
}

/// A size as a signed offset.
///
/// # Panics
/// If it is more than memory can hold.
pub(crate) fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or_else(|_| panic!("{size} is more than memory holds"))
}

/// A distance between two floats of packed rows, in the type that kernels store.
///
/// # Panics
/// If it is 2³¹ floats or more.
pub(crate) fn offset(floats: isize) -> i32 {
    i32::try_from(floats).unwrap_or_else(|_| {
        panic!("packed rows are {floats} floats apart; the limit is below 2³¹ floats")
    })
}

/// The index of a weight, in the type that kernels store.
///
/// # Panics
/// If it is 2³² or more.
pub(crate) fn index(weight: usize) -> u32 {
    u32::try_from(weight).unwrap_or_else(|_| {
        panic!("weight index {weight}: a layer must have fewer than 2³² weights")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice this is 2 modulo 2⁶⁴.
    const WRAPS: usize = (1 << (usize::BITS - 1)) + 1;

    #[test]
    fn sizes_that_fit_are_returned_unchanged() {
        assert_eq!(product([2, 3, 4]), 24);
        assert_eq!((product([7, 0]), product([])), (0, 1));
        assert_eq!((signed(5), offset(-5), index(5)), (5, -5, 5));
        assert_eq!((offset(i32::MAX as isize), offset(i32::MIN as isize)), (i32::MAX, i32::MIN));
    }

    #[test]
    fn a_product_that_wraps_around_is_none() {
        assert_eq!(checked_product([WRAPS, 2]), None);
        assert_eq!(checked_product([usize::MAX, 1]), None, "no slice is that long");
        assert_eq!(checked_product([isize::MAX as usize, 1]), Some(isize::MAX as usize));
    }

    #[test]
    #[should_panic(expected = "below 2³¹ floats")]
    fn an_offset_is_not_truncated() {
        offset(1 << 31);
    }

    #[test]
    #[should_panic(expected = "fewer than 2³² weights")]
    fn an_index_is_not_truncated() {
        index(1 << 32);
    }
}
