//! Products of sizes and places in memory, checked: one that wraps around would pass for a small one.

/// The product of sizes.
///
/// # Panics
/// If it is more than memory can hold.
pub(crate) fn product<const N: usize>(sizes: [usize; N]) -> usize {
    checked_product(sizes).unwrap_or_else(|| panic!("{sizes:?} multiply to more than memory holds"))
}

/// The product of sizes, or `None` if it does not fit.
pub(crate) fn checked_product<const N: usize>(sizes: [usize; N]) -> Option<usize> {
    let whole = sizes.into_iter().try_fold(1usize, usize::checked_mul)?;
    isize::try_from(whole).is_ok().then_some(whole)
}

/// A size as a place that may also lie before the first one.
///
/// # Panics
/// If it is more than memory can hold.
pub(crate) fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or_else(|_| panic!("{size} is more than memory holds"))
}

/// A distance between two floats of packed rows, as the kernels keep it.
///
/// # Panics
/// If it is 2³¹ floats or more.
pub(crate) fn offset(floats: isize) -> i32 {
    i32::try_from(floats)
        .unwrap_or_else(|_| panic!("{floats} floats apart, but a band of rows is below 2³¹ floats"))
}

/// The index of a weight, as the kernels keep it.
///
/// # Panics
/// If it is 2³² or more.
pub(crate) fn index(weight: usize) -> u32 {
    u32::try_from(weight)
        .unwrap_or_else(|_| panic!("weight {weight}, but a layer has fewer than 2³² weights"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice this is 2 modulo 2⁶⁴.
    const WRAPS: usize = (1 << (usize::BITS - 1)) + 1;

    #[test]
    fn what_fits_is_given_as_it_is() {
        assert_eq!(product([2, 3, 4]), 24);
        assert_eq!((product([7, 0]), product([])), (0, 1));
        assert_eq!((signed(5), offset(-5), index(5)), (5, -5, 5));
        assert_eq!((offset(i32::MAX as isize), offset(i32::MIN as isize)), (i32::MAX, i32::MIN));
    }

    #[test]
    fn a_product_that_wraps_around_is_none() {
        assert_eq!(checked_product([WRAPS, 2]), None);
        assert_eq!(checked_product([usize::MAX, 1]), None, "no slice is as long");
        assert_eq!(checked_product([isize::MAX as usize, 1]), Some(isize::MAX as usize));
    }

    #[test]
    #[should_panic(expected = "below 2³¹ floats")]
    fn an_offset_is_not_cut_off() {
        offset(1 << 31);
    }

    #[test]
    #[should_panic(expected = "fewer than 2³² weights")]
    fn an_index_is_not_cut_off() {
        index(1 << 32);
    }
}
