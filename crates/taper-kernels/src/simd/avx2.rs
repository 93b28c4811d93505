//! AVX2 with FMA: eight floats in a vector.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

// SAFETY: each function is one instruction or two, on as many floats as the trait says.
unsafe impl Simd for Avx2 {
    const WIDTH: usize = 8;
    const ACCUMULATORS: usize = 12;
    type V = __m256;

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: the caller vouches for the instructions, here and below.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller gives eight floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the caller gives room for eight floats.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn where_positive(gate: __m256, value: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let passes = _mm256_cmp_ps::<_CMP_NLE_UQ>(gate, _mm256_setzero_ps());
            _mm256_and_ps(passes, value)
        }
    }
}
