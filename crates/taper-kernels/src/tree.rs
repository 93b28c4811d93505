//! Sums over a batch, in the order of a binary tree.
//!
//! Parts are merged in pairs: the first with the second, the third with the fourth, and so on. The results are merged
//! in the same way until one is left. A last part without a partner stays as it is. The tree depends on the number of
//! parts alone. Processes with different parts of a batch can therefore merge their own parts first: a [`BatchShare`]
//! of a batch gives the [`Roots`] of the largest subtrees within it, and the roots of all shares merge to the sum over
//! the batch.

use std::ops::Range;

/// Merges parts as a tree; a later part is merged into an earlier one. `None` if there are no parts.
pub(crate) fn merge<T>(
    parts: impl IntoIterator<Item = T>,
    merge: impl FnMut(T, T) -> T,
) -> Option<T> {
    merge_roots(parts.into_iter().map(|part| (0, part)), merge)
}

/// Merges the roots of subtrees that follow one another from the first part on, given with their heights.
fn merge_roots<T>(
    subtrees: impl IntoIterator<Item = (u32, T)>,
    mut merge: impl FnMut(T, T) -> T,
) -> Option<T> {
    // From left to right, with heights that decrease.
    let mut roots: Vec<(u32, T)> = Vec::new();
    for mut root in subtrees {
        while let Some((height, left)) = roots.pop_if(|(height, _)| *height == root.0) {
            root = (height + 1, merge(left, root.1));
        }
        roots.push(root);
    }
    let (_, last) = roots.pop()?;
    Some(roots.into_iter().rev().fold(last, |right, (_, left)| merge(left, right)))
}

/// The position of an activation's images in the batch.
///
/// ```
/// use taper_kernels::tree::BatchShare;
/// // The last 36 images of 100, in blocks of sixteen: of seven blocks, the last three are two subtrees.
/// let share = BatchShare { first: 64, of: 100 };
/// assert_eq!(share.subtrees(36, 16), [(1, 0..2), (0, 2..3)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShare {
    /// Images before the first one, a multiple of sixteen.
    pub first: usize,
    /// Images of the batch.
    pub of: usize,
}

impl BatchShare {
    /// All images of a batch.
    pub fn whole(of: usize) -> Self {
        Self { first: 0, of }
    }

    /// The largest subtrees within the share, with `images` images per part: their heights, and their parts counted
    /// from the share's first part. The share has `n` images. A whole batch is one subtree.
    pub fn subtrees(&self, n: usize, images: usize) -> Vec<(u32, Range<usize>)> {
        if n == self.of {
            return vec![(u32::MAX, 0..n.div_ceil(images))];
        }
        if n == 0 {
            return Vec::new();
        }
        let (first, end) = (self.first / images, (self.first + n).div_ceil(images));
        let mut subtrees = Vec::new();
        let mut at = first;
        while at < end {
            let aligned = if at == 0 { u32::MAX } else { at.trailing_zeros() };
            let height = aligned.min((end - at).ilog2());
            let next = at + (1 << height);
            subtrees.push((height, at - first..next - first));
            at = next;
        }
        subtrees
    }
}

/// A quantity that is summed over a batch.
pub trait Summand {
    /// The sum of both; `other` is of later images.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

/// Sums over the largest subtrees within a rank's part of a batch, with their heights.
#[derive(Clone, Debug, PartialEq)]
pub struct Roots<T> {
    /// Images per part.
    pub images: usize,
    /// Height and sum of each subtree, from left to right.
    pub roots: Vec<(u32, T)>,
}

impl<T: Summand> Roots<T> {
    /// The roots over `parts` of `n` images, with `images` images per part.
    pub(crate) fn of(share: BatchShare, n: usize, images: usize, parts: Vec<T>) -> Self {
        let mut parts = parts.into_iter();
        let subtrees = share.subtrees(n, images).into_iter().filter_map(|(height, range)| {
            Some((height, merge(parts.by_ref().take(range.len()), T::plus)?))
        });
        Self { images, roots: subtrees.collect() }
    }

    /// The sum over a batch, from the roots of all its shares in order. `None` if there are no roots.
    pub fn sum(self) -> Option<T> {
        merge_roots(self.roots, T::plus)
    }
}

impl<T> Roots<T> {
    /// The roots of no images.
    pub(crate) fn none(images: usize) -> Self {
        Self { images, roots: Vec::new() }
    }
}

/// Overwrites `totals` with the sums of the parts. A part has the length of `totals`, or it is empty and adds nothing.
pub(crate) fn add_up<'a>(totals: &mut [f32], parts: impl IntoIterator<Item = &'a [f32]>) {
    add_roots(totals, parts.into_iter().map(|part| (0, part)));
}

/// Overwrites `totals` with the sums over a batch, from the roots of all its shares in order. A root has the length of
/// `totals`, or it is empty and adds nothing.
pub fn add_roots<'a>(totals: &mut [f32], roots: impl IntoIterator<Item = (u32, &'a [f32])>) {
    let mut spare = Vec::new();
    let leaves = roots.into_iter().map(|(height, part)| {
        (height, if part.is_empty() { PartSum::None } else { PartSum::Part(part) })
    });
    let root = merge_roots(leaves, |left, right| left.add(right, &mut spare));
    // The addition of zero makes a negative zero positive, as in a sum that starts at zero.
    match root.as_ref().and_then(PartSum::values) {
        Some(sum) => totals.iter_mut().zip(sum).for_each(|(total, sum)| *total = 0.0 + sum),
        None => totals.fill(0.0),
    }
}

/// The sum of some parts.
enum PartSum<'a> {
    None,
    Part(&'a [f32]),
    Of(Vec<f32>),
}

impl PartSum<'_> {
    /// Adds two sums, with memory of sums that are no longer needed.
    fn add(self, other: Self, spare: &mut Vec<Vec<f32>>) -> Self {
        match (self, other) {
            (Self::None, sum) | (sum, Self::None) => sum,
            (Self::Part(left), Self::Part(right)) => {
                let mut sum = spare.pop().unwrap_or_default();
                sum.clear();
                sum.extend(left.iter().zip(right).map(|(left, right)| left + right));
                Self::Of(sum)
            }
            (Self::Of(mut sum), Self::Part(part)) | (Self::Part(part), Self::Of(mut sum)) => {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                Self::Of(sum)
            }
            (Self::Of(mut left), Self::Of(right)) => {
                left.iter_mut().zip(&right).for_each(|(left, right)| *left += right);
                spare.push(right);
                Self::Of(left)
            }
        }
    }

    fn values(&self) -> Option<&[f32]> {
        match self {
            Self::None => None,
            Self::Part(part) => Some(part),
            Self::Of(sum) => Some(sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as text, such as `((01)2)`.
    fn tree(parts: std::ops::Range<usize>) -> Option<String> {
        merge(parts.map(|i| i.to_string()), |left, right| format!("({left}{right})"))
    }

    #[test]
    fn parts_are_merged_in_twos() {
        assert_eq!(tree(0..0), None);
        assert_eq!(tree(0..1).unwrap(), "0");
        assert_eq!(tree(0..3).unwrap(), "((01)2)");
        assert_eq!(tree(0..7).unwrap(), "(((01)(23))((45)6))");
        assert_eq!(tree(0..9).unwrap(), "((((01)(23))((45)(67)))8)");
    }

    #[test]
    fn aligned_parts_are_merged_without_the_others() {
        let whole = tree(0..8).unwrap();
        let halves = [tree(0..4).unwrap(), tree(4..8).unwrap()];
        assert_eq!(whole, format!("({}{})", halves[0], halves[1]));
    }

    impl Summand for String {
        fn plus(self, other: Self) -> Self {
            format!("({self}{other})")
        }
    }

    #[test]
    fn shares_merge_to_the_tree_of_the_batch() {
        // Parts of four images, the last of which may have fewer.
        let parts = |from: usize, n: usize| {
            (from / 4..(from + n).div_ceil(4)).map(|i| format!("{i}")).collect::<Vec<_>>()
        };
        for of in 1..150 {
            let want = Roots::of(BatchShare::whole(of), of, 4, parts(0, of)).sum().unwrap();
            for cuts in [&[0, 16][..], &[0, 32], &[0, 16, 48], &[0, 48, 64, 112]] {
                let mut all = Vec::new();
                for (i, &first) in cuts.iter().enumerate() {
                    let first = first.min(of);
                    let n = cuts.get(i + 1).copied().unwrap_or(of).min(of) - first;
                    let share = BatchShare { first, of };
                    let Roots { roots, .. } = Roots::of(share, n, 4, parts(first, n));
                    let heights = share.subtrees(n, 4).into_iter().map(|(height, _)| height);
                    assert!(heights.eq(roots.iter().map(|root| root.0)));
                    // A share that is the whole batch has one root, and there are no others.
                    all.extend(roots);
                }
                let sum = Roots { images: 4, roots: all }.sum();
                assert_eq!(sum.unwrap(), want, "{of} images, from {cuts:?}");
            }
        }
    }

    #[test]
    fn vectors_are_added_as_single_numbers_are() {
        // Numbers with a sum that depends on the order.
        let values: Vec<[f32; 2]> =
            (0..23).map(|i| [(i as f32 * 0.7).sin() * 1e4, 1.0 / (i + 1) as f32]).collect();
        for n in 0..values.len() {
            // Every third adds nothing.
            let parts: Vec<&[f32]> =
                (0..n).map(|i| if i % 3 == 1 { &[][..] } else { &values[i][..] }).collect();
            let mut sums = [f32::NAN; 2];
            add_up(&mut sums, parts.iter().copied());
            for (at, sum) in sums.iter().enumerate() {
                let leaves = parts.iter().map(|part| part.get(at).copied());
                let want = merge(leaves, |a, b| match (a, b) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                });
                assert_eq!(*sum, want.flatten().unwrap_or(0.0), "{n} parts");
            }
        }
    }

    #[test]
    fn negative_zeros_add_up_to_a_positive_one() {
        let mut sum = [1.0];
        add_up(&mut sum, [&[-0.0][..], &[-0.0]]);
        assert_eq!(sum[0].to_bits(), 0);
    }
}
