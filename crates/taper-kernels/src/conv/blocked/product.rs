//! Micro-kernels of matrix products with channels in the SIMD lanes.

use crate::{
    lanes::LANES,
    simd::{Kernel, Simd},
};

/// `sums[r][v] (+)= Σ numbers[r]·vectors[v]`, over `n` steps.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) numbers: *const f32,
    /// Floats from one step to the next, and from one row to the next.
    pub(super) number_step: usize,
    pub(super) next_number: usize,
    pub(super) vectors: *const f32,
    pub(super) vector_step: usize,
    pub(super) next_vector: usize,
    pub(super) n: usize,
}

impl Product {
    /// Computes eight rows of one or two groups of sixteen floats; returns the number of groups.
    #[inline(always)]
    pub(super) unsafe fn tiles<S: Simd>(
        self,
        groups: usize,
        to: *mut f32,
        next_row: usize,
        next_group: usize,
        is_added: bool,
    ) -> usize {
        // SAFETY: guaranteed by the caller.
        unsafe {
            if S::WIDTH == LANES && S::ACCUMULATORS >= 24 && groups >= 2 {
                S::call(ProductTile::<8, 2> {
                    product: self,
                    to,
                    next_row,
                    next_vector: next_group,
                    is_added,
                });
                return 2;
            }
            if S::ACCUMULATORS >= 24 && S::WIDTH < LANES {
                // As many vectors as fill the registers.
                for part in (0..LANES).step_by(2 * S::WIDTH) {
                    let product = self.at(0, part, S::WIDTH);
                    let (to, next_vector) = (to.add(part), S::WIDTH);
                    S::call(ProductTile::<8, 2> { product, to, next_row, next_vector, is_added });
                }
                return 1;
            }
            if S::WIDTH == LANES {
                S::call(ProductTile::<8, 1> {
                    product: self,
                    to,
                    next_row,
                    next_vector: 0,
                    is_added,
                });
                return 1;
            }
            for part in (0..LANES).step_by(2 * S::WIDTH) {
                for row in [0, 4] {
                    let product = self.at(row, part, S::WIDTH);
                    let (to, next_vector) = (to.add(row * next_row + part), S::WIDTH);
                    S::call(ProductTile::<4, 2> { product, to, next_row, next_vector, is_added });
                }
            }
            1
        }
    }

    /// Computes a few rows of a group of sixteen floats; returns 1.
    #[inline(always)]
    pub(super) unsafe fn few<S: Simd>(
        self,
        rows: usize,
        to: *mut f32,
        next_row: usize,
        is_added: bool,
    ) -> usize {
        for row in 0..rows {
            for part in (0..LANES).step_by(S::WIDTH) {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let product = self.at(row, part, 0);
                    let to = to.add(row * next_row + part);
                    S::call(ProductTile::<1, 1> {
                        product,
                        to,
                        next_row,
                        next_vector: 0,
                        is_added,
                    });
                }
            }
        }
        1
    }

    /// The product from `row` on and from float `part` of each group on, with vectors that are `next_vector` floats
    /// apart.
    #[inline(always)]
    fn at(self, row: usize, part: usize, next_vector: usize) -> Self {
        Self {
            numbers: self.numbers.wrapping_add(row * self.next_number),
            vectors: self.vectors.wrapping_add(part),
            next_vector,
            ..self
        }
    }
}

/// `R` rows and `V` vectors.
struct ProductTile<const R: usize, const V: usize> {
    product: Product,
    to: *mut f32,
    next_row: usize,
    next_vector: usize,
    /// Whether sums are added to the values in memory.
    is_added: bool,
}

impl<const R: usize, const V: usize> Kernel for ProductTile<R, V> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { product, to, next_row, next_vector, is_added } = self;
        let (mut numbers, mut vectors) = (product.numbers, product.vectors);
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut sums = [[S::splat(0.0); V]; R];
            for _ in 0..product.n {
                let mut loaded = [S::splat(0.0); V];
                for (v, loaded) in loaded.iter_mut().enumerate() {
                    *loaded = S::load(vectors.add(v * product.next_vector));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let number = S::splat(*numbers.add(r * product.next_number));
                    for (sum, &loaded) in sums.iter_mut().zip(&loaded) {
                        *sum = S::fma(number, loaded, *sum);
                    }
                }
                numbers = numbers.wrapping_add(product.number_step);
                vectors = vectors.wrapping_add(product.vector_step);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let to = to.add(r * next_row + v * next_vector);
                    // A long sum is computed as a sum of short sums, which reduces rounding errors.
                    S::store(to, if is_added { S::add(S::load(to), sum) } else { sum });
                }
            }
        }
    }
}
