//! Compares magnitudes with a value, sixty-four per word.

use crate::simd::{Kernel, Simd, is_above};

/// Bit `i % 64` of word `i / 64` is 1 if `|weights[i]|` is above `at` or NaN.
pub(crate) struct Words<'a> {
    pub(crate) weights: &'a [f32],
    /// Must not be NaN.
    pub(crate) at: f32,
}

impl Kernel for Words<'_> {
    type Out = Vec<u64>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<u64> {
        let mut words = Vec::with_capacity(self.weights.len().div_ceil(64));
        let (whole, rest) = self.weights.as_chunks::<64>();
        for chunk in whole {
            let mut word = 0u64;
            for i in (0..64).step_by(S::WIDTH) {
                // SAFETY: the caller guarantees the instruction set; a chunk has the floats of every part.
                word |=
                    u64::from(unsafe { S::above(S::load(chunk.as_ptr().add(i)), self.at) }) << i;
            }
            words.push(word);
        }
        if !rest.is_empty() {
            let bits = rest.iter().enumerate();
            words.push(bits.fold(0, |word, (i, w)| word | u64::from(is_above(*w, self.at)) << i));
        }
        words
    }
}
