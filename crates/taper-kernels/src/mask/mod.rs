//! Packed sets of kept weights.
//!
//! Bit `i % 64` of word `i / 64` is weight `i`; bits past the end are 0.

pub(crate) mod above;

use crate::simd::{Variant, is_above, launch};

/// A packed set of kept weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
    len: usize,
}

/// Mask churn: how a mask differs from the mask before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Weights in the new mask that were not in the old one.
    pub n_entered: u64,
    /// Weights in the old mask that are not in the new one.
    pub n_left: u64,
}

impl Mask {
    /// Keeps every one of `len` weights.
    pub fn full(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if let (Some(last), tail @ 1..) = (words.last_mut(), len % 64) {
            *last = (1 << tail) - 1;
        }
        Self { words, len }
    }

    /// Keeps none of `len` weights.
    pub fn empty(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// Keeps weights with a magnitude above `at`. NaN counts as above.
    pub fn above(weights: &[f32], at: f32) -> Self {
        Self::above_with_ties(weights, at, &mut 0)
    }

    /// Keeps weights with a magnitude above `at`. Of the weights with magnitude `at`, keeps the first `ties_left` in
    /// index order. `ties_left` is counted down: one budget serves several layers.
    pub fn above_with_ties(weights: &[f32], at: f32, ties_left: &mut u64) -> Self {
        if *ties_left == 0 && !at.is_nan() {
            let words = launch(Variant::current(), above::Words { weights, at });
            return Self { words, len: weights.len() };
        }
        let words = weights
            .chunks(64)
            .map(|chunk| {
                let mut word = 0u64;
                for (bit, &w) in chunk.iter().enumerate() {
                    let mut kept = is_above(w, at);
                    if w.abs() == at && *ties_left > 0 {
                        *ties_left -= 1;
                        kept = true;
                    }
                    word |= u64::from(kept) << bit;
                }
                word
            })
            .collect();
        Self { words, len: weights.len() }
    }

    /// Creates a mask from its [`words`](Self::words). `None` if the number of words does not fit `len` weights or a
    /// bit past the end is set.
    pub fn from_words(words: Vec<u64>, len: usize) -> Option<Self> {
        let fits = words.len() == len.div_ceil(64)
            && words.last().is_none_or(|last| len.is_multiple_of(64) || last >> (len % 64) == 0);
        fits.then_some(Self { words, len })
    }

    /// Number of weights, kept or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no weights at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packed bits.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether weight `index` is kept.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn is_kept(&self, index: usize) -> bool {
        assert!(index < self.len, "weight {index} of {}", self.len);
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Indices of the kept weights, in order.
    pub fn kept(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(i, &word)| ones(word).map(move |bit| 64 * i + bit))
    }

    /// Number of kept weights.
    pub fn n_kept(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Fraction of the weights that are kept; 0 if there are no weights.
    pub fn density(&self) -> f64 {
        self.n_kept() as f64 / self.len.max(1) as f64
    }

    /// Keeps the weights that either mask keeps.
    ///
    /// # Panics
    /// If the masks differ in length.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    /// Keeps the weights that both masks keep.
    ///
    /// # Panics
    /// If the masks differ in length.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & b)
    }

    /// Keeps the weights that this mask keeps and the other mask does not.
    ///
    /// # Panics
    /// If the masks differ in length.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & !b)
    }

    /// Keeps the weights that this mask does not keep.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self::full(self.len).difference(self)
    }

    fn combine(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        assert_eq!(self.len, other.len, "masks differ in length");
        let words = self.words.iter().zip(&other.words).map(|(&a, &b)| of(a, b)).collect();
        Self { words, len: self.len }
    }

    /// Keeps weight `index`, or prunes it.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn set(&mut self, index: usize, is_kept: bool) {
        assert!(index < self.len, "weight {index} of {}", self.len);
        let (word, bit) = (&mut self.words[index / 64], 1 << (index % 64));
        if is_kept { *word |= bit } else { *word &= !bit }
    }

    /// Whether any weight of a range is kept.
    ///
    /// # Panics
    /// If the range is not within `0..len`.
    pub fn keeps_any(&self, range: std::ops::Range<usize>) -> bool {
        assert!(range.end <= self.len, "weights up to {} of {}", range.end, self.len);
        words_of(range).any(|(word, bits)| self.words[word] & bits != 0)
    }

    /// Prunes all weights of a range.
    ///
    /// # Panics
    /// If the range is not within `0..len`.
    pub fn clear(&mut self, range: std::ops::Range<usize>) {
        assert!(range.end <= self.len, "weights up to {} of {}", range.end, self.len);
        words_of(range).for_each(|(word, bits)| self.words[word] &= !bits);
    }

    /// How this mask differs from the mask before.
    ///
    /// # Panics
    /// If the masks differ in length.
    pub fn change_since(&self, before: &Self) -> Change {
        assert_eq!(self.len, before.len, "masks differ in length");
        self.words.iter().zip(&before.words).fold(Change::default(), |change, (new, old)| Change {
            n_entered: change.n_entered + u64::from((new & !old).count_ones()),
            n_left: change.n_left + u64::from((old & !new).count_ones()),
        })
    }
}

/// The words that contain a range of weights, each with the bits of the range.
fn words_of(range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (range.start / 64, range.end.div_ceil(64));
    (first..last).map(move |word| {
        let (from, to) =
            (range.start.max(64 * word) - 64 * word, range.end.min(64 * (word + 1)) - 64 * word);
        (word, if from < to { (u64::MAX >> (64 - (to - from))) << from } else { 0 })
    })
}

/// Indices of the bits that are set, from the lowest.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_masks_have_no_bits_past_the_end() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let mask = Mask::full(len);
            assert_eq!(mask.n_kept(), len as u64);
            assert_eq!(Mask::from_words(mask.words().to_vec(), len), Some(mask));
        }
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        assert_eq!(Mask::from_words(vec![0b1000], 3), None);
        assert_eq!(Mask::from_words(vec![0, 0], 64), None);
        assert_eq!(Mask::from_words(vec![], 1), None);
    }

    #[test]
    fn one_budget_of_ties_serves_several_layers_in_order() {
        let mut ties = 3;
        let first = Mask::above_with_ties(&[0.5, -0.5, 0.7, 0.1], 0.5, &mut ties);
        let second = Mask::above_with_ties(&[0.5, 0.5], 0.5, &mut ties);
        assert_eq!((first.words()[0], second.words()[0], ties), (0b0111, 0b01, 0));
    }

    #[test]
    fn ranges_are_seen_and_cleared_at_every_edge() {
        for (start, end) in
            [(0, 0), (5, 5), (0, 1), (3, 64), (63, 65), (64, 128), (1, 200), (199, 200)]
        {
            assert_eq!(Mask::empty(200).n_kept(), 0);
            let mut mask = Mask::full(200);
            mask.clear(start..end);
            assert_eq!(mask.n_kept() as usize, 200 - (end - start), "{start}..{end}");
            assert!(!mask.keeps_any(start..end));
            assert!(start == 0 || mask.keeps_any(start - 1..end));
            assert!(end == 200 || mask.keeps_any(start..end + 1));
            if start < end {
                mask.set(end - 1, true);
                assert!(mask.is_kept(end - 1) && mask.keeps_any(start..end));
                mask.set(end - 1, false);
                assert!(!mask.keeps_any(start..end));
            }
        }
    }

    #[test]
    fn nan_is_kept() {
        assert!(Mask::above(&[f32::NAN], 1.0).is_kept(0));
    }

    proptest! {
        #[test]
        fn masks_agree_with_their_definition(
            weights in prop::collection::vec(-1.0f32..1.0, 0..300), old in 0.0f32..1.0, new in 0.0f32..1.0,
        ) {
            let (a, b) = (Mask::above(&weights, old), Mask::above(&weights, new));
            let count = |pick: &dyn Fn(f32) -> bool| weights.iter().filter(|w| pick(w.abs())).count() as u64;
            prop_assert_eq!(b.n_kept(), count(&|w| w > new));
            for (i, w) in weights.iter().enumerate() {
                prop_assert_eq!(b.is_kept(i), w.abs() > new);
            }
            let change = b.change_since(&a);
            prop_assert_eq!(change.n_entered, count(&|w| w > new && w <= old));
            prop_assert_eq!(change.n_left, count(&|w| w <= new && w > old));
            prop_assert_eq!(b.difference(&a).n_kept(), change.n_entered);
            prop_assert_eq!(b.intersection(&a).n_kept(), count(&|w| w > new && w > old));
            prop_assert_eq!(b.union(&a).n_kept(), count(&|w| w > new || w > old));
        }
    }
}
