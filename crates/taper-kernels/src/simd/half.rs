//! Four floats on machines with AVX2 and FMA, for planes too small for a wider vector.

use super::{Kernel, Simd, scalar::Portable};
use std::arch::x86_64::*;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Half;

// SAFETY: each function is one instruction or two, on as many floats as the trait requires.
unsafe impl Simd for Half {
    const WIDTH: usize = 4;
    const MOST_VECTORS: usize = 1;
    const ACCUMULATORS: usize = 12;
    type V = __m128;

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: the caller guarantees the instruction set, here and below.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m128 {
        // SAFETY: the caller provides four floats.
        unsafe { _mm_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m128) {
        // SAFETY: the caller provides room for four floats.
        unsafe { _mm_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m128, b: __m128, c: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn where_positive(gate: __m128, value: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_and_ps(_mm_cmpnle_ps(gate, _mm_setzero_ps()), value) }
    }

    #[inline(always)]
    unsafe fn up(value: __m128, before: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe {
            let (value, before) = (_mm_castps_si128(value), _mm_castps_si128(before));
            _mm_castsi128_ps(_mm_alignr_epi8::<12>(value, before))
        }
    }

    #[inline(always)]
    unsafe fn down(value: __m128, after: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe {
            let (value, after) = (_mm_castps_si128(value), _mm_castps_si128(after));
            _mm_castsi128_ps(_mm_alignr_epi8::<4>(after, value))
        }
    }

    #[inline(always)]
    unsafe fn split(a: __m128, b: __m128) -> [__m128; 2] {
        // SAFETY: as above.
        unsafe { [_mm_shuffle_ps::<0b10_00_10_00>(a, b), _mm_shuffle_ps::<0b11_01_11_01>(a, b)] }
    }

    #[inline(always)]
    unsafe fn permute(value: __m128, places: *const u32) -> __m128 {
        // SAFETY: as above; the caller provides four places.
        unsafe { _mm_permutevar_ps(value, _mm_loadu_si128(places.cast())) }
    }

    #[inline(always)]
    unsafe fn or(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_or_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn and(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_and_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn select(which: __m128, a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_blendv_ps(b, a, which) }
    }

    #[inline(always)]
    unsafe fn at_least(value: __m128, least: __m128) -> __m128 {
        // SAFETY: as above. The result is the second operand where one operand is NaN.
        unsafe { _mm_max_ps(least, value) }
    }

    #[inline(always)]
    unsafe fn flush(value: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe {
            let least = _mm_set1_ps(f32::MIN_POSITIVE);
            let magnitude = _mm_andnot_ps(_mm_set1_ps(-0.0), value);
            _mm_and_ps(_mm_cmpnlt_ps(magnitude, least), value)
        }
    }

    #[inline(always)]
    unsafe fn at_most(value: __m128, most: __m128) -> __m128 {
        // SAFETY: as above. The result is the second operand where one operand is NaN.
        unsafe { _mm_min_ps(most, value) }
    }

    #[inline(always)]
    unsafe fn larger(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above. The result is the second operand where both are equal or one is NaN.
        unsafe { _mm_blendv_ps(_mm_max_ps(b, a), b, _mm_cmpunord_ps(b, b)) }
    }

    #[inline(always)]
    unsafe fn above(value: __m128, at: f32) -> u32 {
        // SAFETY: as above.
        unsafe {
            let magnitude = _mm_andnot_ps(_mm_set1_ps(-0.0), value);
            let is_above = _mm_cmpnle_ps(magnitude, _mm_set1_ps(at));
            _mm_movemask_ps(is_above).cast_unsigned()
        }
    }
}

/// Runs a kernel on single floats, with the FMA instruction.
///
/// # Safety
/// The machine must have AVX2 and FMA.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn one<K: Kernel>(part: K) -> K::Out {
    // SAFETY: no further instruction set is needed.
    unsafe { part.run::<Portable<1>>() }
}
