//! AVX2 with FMA: eight floats in a vector.

use super::{Kernel, Lanes, Simd};
use std::arch::x86_64::*;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

// SAFETY: each function is one instruction or two, on as many floats as the trait requires.
unsafe impl Simd for Avx2 {
    const WIDTH: usize = 8;
    const ACCUMULATORS: usize = 12;
    type V = __m256;

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: the caller guarantees the instruction set, here and below.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller provides eight floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the caller provides room for eight floats.
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

    #[inline(always)]
    unsafe fn up(value: __m256, before: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            // The upper half of `before` and the lower half of `value`: for each half of `value`, the half before it.
            let halves = _mm256_permute2f128_ps::<0x21>(before, value);
            let (value, halves) = (_mm256_castps_si256(value), _mm256_castps_si256(halves));
            _mm256_castsi256_ps(_mm256_alignr_epi8::<12>(value, halves))
        }
    }

    #[inline(always)]
    unsafe fn down(value: __m256, after: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let halves = _mm256_permute2f128_ps::<0x21>(value, after);
            let (value, halves) = (_mm256_castps_si256(value), _mm256_castps_si256(halves));
            _mm256_castsi256_ps(_mm256_alignr_epi8::<4>(halves, value))
        }
    }

    #[inline(always)]
    unsafe fn split(a: __m256, b: __m256) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe {
            // The lower halves of both vectors, and the upper halves of both.
            let low = _mm256_permute2f128_ps::<0x20>(a, b);
            let high = _mm256_permute2f128_ps::<0x31>(a, b);
            [
                _mm256_shuffle_ps::<0b10_00_10_00>(low, high),
                _mm256_shuffle_ps::<0b11_01_11_01>(low, high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn permute(value: __m256, places: *const u32) -> __m256 {
        // SAFETY: as above; the caller provides eight places.
        unsafe { _mm256_permutevar8x32_ps(value, _mm256_loadu_si256(places.cast())) }
    }

    #[inline(always)]
    unsafe fn or(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_or_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn and(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_and_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn select(which: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_blendv_ps(b, a, which) }
    }

    #[inline(always)]
    unsafe fn at_least(value: __m256, least: __m256) -> __m256 {
        // SAFETY: as above. The result is the second operand where one operand is NaN.
        unsafe { _mm256_max_ps(least, value) }
    }

    #[inline(always)]
    unsafe fn flush(value: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let least = _mm256_set1_ps(f32::MIN_POSITIVE);
            let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), value);
            _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, least), value)
        }
    }

    #[inline(always)]
    unsafe fn at_most(value: __m256, most: __m256) -> __m256 {
        // SAFETY: as above. The result is the second operand where one operand is NaN.
        unsafe { _mm256_min_ps(most, value) }
    }

    #[inline(always)]
    unsafe fn larger(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above. The result is the second operand where both are equal or one is NaN.
        unsafe {
            let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(b, b);
            _mm256_blendv_ps(_mm256_max_ps(b, a), b, is_nan)
        }
    }

    #[inline(always)]
    unsafe fn above(value: __m256, at: f32) -> u32 {
        // SAFETY: as above.
        unsafe {
            let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), value);
            let is_above = _mm256_cmp_ps::<_CMP_NLE_UQ>(magnitude, _mm256_set1_ps(at));
            _mm256_movemask_ps(is_above).cast_unsigned()
        }
    }

    #[inline(always)]
    fn will_read(at: *const f32) {
        will_read(at);
    }

    #[inline(always)]
    unsafe fn store_past(to: *mut f32, value: __m256) {
        // SAFETY: the caller provides room for eight floats at a multiple of their size.
        unsafe { _mm256_stream_ps(to, value) }
    }

    #[inline(always)]
    fn fence() {
        fence();
    }

    #[inline(always)]
    unsafe fn sums(pixels: &[Lanes; 8]) -> [f32; 8] {
        // SAFETY: as above.
        unsafe { sums(pixels) }
    }
}

/// See [`Simd::will_read`]; AVX-512 machines use it as well.
#[inline(always)]
pub(super) fn will_read(at: *const f32) {
    // SAFETY: a prefetch hint cannot fail, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// See [`Simd::fence`]; AVX-512 machines use it as well.
#[inline(always)]
pub(super) fn fence() {
    // SAFETY: every machine with AVX2 has this instruction.
    unsafe { _mm_sfence() }
}

/// See [`Simd::sums`]; AVX-512 machines use it as well.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
pub(super) unsafe fn sums(pixels: &[Lanes; 8]) -> [f32; 8] {
    // SAFETY: the caller guarantees the instruction set; each pixel has sixteen floats.
    unsafe {
        let mut x = [_mm256_setzero_ps(); 8];
        for (x, pixel) in x.iter_mut().zip(pixels) {
            let from = pixel.0.as_ptr();
            *x = _mm256_add_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
        }
        let mut y = [_mm256_setzero_ps(); 4];
        for (k, y) in y.iter_mut().enumerate() {
            let low = _mm256_permute2f128_ps::<0x20>(x[k], x[k + 4]);
            *y = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(x[k], x[k + 4]));
        }
        let mut z = [_mm256_setzero_ps(); 2];
        for (k, z) in z.iter_mut().enumerate() {
            let low = _mm256_shuffle_ps::<0b01_00_01_00>(y[2 * k], y[2 * k + 1]);
            *z = _mm256_add_ps(low, _mm256_shuffle_ps::<0b11_10_11_10>(y[2 * k], y[2 * k + 1]));
        }
        let even = _mm256_shuffle_ps::<0b10_00_10_00>(z[0], z[1]);
        let sums = _mm256_add_ps(even, _mm256_shuffle_ps::<0b11_01_11_01>(z[0], z[1]));
        let mut out = [0.0; 8];
        _mm256_storeu_ps(out.as_mut_ptr(), sums);
        out
    }
}
