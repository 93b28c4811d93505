//! Vectors of floats without special instructions: the specification of the other variants.

use super::{Kernel, Simd, flush, is_above};

/// A vector of `N` floats; `N` divides sixteen.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const N: usize = 16>;

// SAFETY: no instruction set is needed.
unsafe impl<const N: usize> Simd for Portable<N> {
    const WIDTH: usize = N;
    const MOST_VECTORS: usize = if N == 1 { 2 } else { usize::MAX };
    const ACCUMULATORS: usize = 16;
    type V = [f32; N];

    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: no instruction set is needed.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; N] {
        [value; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; N] {
        // SAFETY: the caller provides N floats.
        unsafe { from.cast::<[f32; N]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; N]) {
        // SAFETY: the caller provides room for N floats.
        unsafe { to.cast::<[f32; N]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    unsafe fn where_positive(gate: [f32; N], value: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if gate[i] <= 0.0 { 0.0 } else { value[i] })
    }

    #[inline(always)]
    unsafe fn up(value: [f32; N], before: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if i == 0 { before[N - 1] } else { value[i - 1] })
    }

    #[inline(always)]
    unsafe fn down(value: [f32; N], after: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if i == N - 1 { after[0] } else { value[i + 1] })
    }

    #[inline(always)]
    unsafe fn split(a: [f32; N], b: [f32; N]) -> [[f32; N]; 2] {
        let lane = |i: usize| if i < N { a[i] } else { b[i - N] };
        [std::array::from_fn(|i| lane(2 * i)), std::array::from_fn(|i| lane(2 * i + 1))]
    }

    #[inline(always)]
    unsafe fn permute(value: [f32; N], places: *const u32) -> [f32; N] {
        // SAFETY: the caller provides N places below N.
        std::array::from_fn(|i| value[unsafe { *places.add(i) } as usize])
    }

    #[inline(always)]
    unsafe fn or(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| f32::from_bits(a[i].to_bits() | b[i].to_bits()))
    }

    #[inline(always)]
    unsafe fn and(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| f32::from_bits(a[i].to_bits() & b[i].to_bits()))
    }

    #[inline(always)]
    unsafe fn select(which: [f32; N], a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if which[i].to_bits() == 0 { b[i] } else { a[i] })
    }

    #[inline(always)]
    unsafe fn at_least(value: [f32; N], least: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if least[i] > value[i] { least[i] } else { value[i] })
    }

    #[inline(always)]
    unsafe fn flush(value: [f32; N]) -> [f32; N] {
        value.map(flush)
    }

    #[inline(always)]
    unsafe fn at_most(value: [f32; N], most: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if most[i] < value[i] { most[i] } else { value[i] })
    }

    #[inline(always)]
    unsafe fn larger(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if a[i] >= b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn above(value: [f32; N], at: f32) -> u32 {
        value.iter().enumerate().fold(0, |bits, (i, &v)| bits | u32::from(is_above(v, at)) << i)
    }
}
