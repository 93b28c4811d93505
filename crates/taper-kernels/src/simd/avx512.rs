//! AVX-512: sixteen floats in a vector.

use super::{Kernel, Lanes, Simd, avx2};
use std::arch::x86_64::*;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

// SAFETY: each function is one instruction or two, on as many floats as the trait requires.
unsafe impl Simd for Avx512 {
    const WIDTH: usize = 16;
    const ACCUMULATORS: usize = 24;
    type V = __m512;

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx2,fma")]
    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: the caller guarantees the instruction set, here and below.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller provides sixteen floats.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: the caller provides room for sixteen floats.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn will_read(at: *const f32) {
        avx2::will_read(at);
    }

    #[inline(always)]
    unsafe fn store_past(to: *mut f32, value: __m512) {
        // SAFETY: the caller provides room for sixteen floats at a multiple of their size.
        unsafe { _mm512_stream_ps(to, value) }
    }

    #[inline(always)]
    fn fence() {
        avx2::fence();
    }

    #[inline(always)]
    unsafe fn where_positive(gate: __m512, value: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let passes = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(gate, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(passes, value)
        }
    }

    #[inline(always)]
    unsafe fn up(value: __m512, before: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (value, before) = (_mm512_castps_si512(value), _mm512_castps_si512(before));
            _mm512_castsi512_ps(_mm512_alignr_epi32::<15>(value, before))
        }
    }

    #[inline(always)]
    unsafe fn down(value: __m512, after: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (value, after) = (_mm512_castps_si512(value), _mm512_castps_si512(after));
            _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(after, value))
        }
    }

    #[inline(always)]
    unsafe fn split(a: __m512, b: __m512) -> [__m512; 2] {
        // SAFETY: as above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    }

    #[inline(always)]
    unsafe fn permute(value: __m512, places: *const u32) -> __m512 {
        // SAFETY: as above; the caller provides sixteen places.
        unsafe { _mm512_permutexvar_ps(_mm512_loadu_si512(places.cast()), value) }
    }

    #[inline(always)]
    unsafe fn or(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_or_si512(a, b))
        }
    }

    #[inline(always)]
    unsafe fn and(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_and_si512(a, b))
        }
    }

    #[inline(always)]
    unsafe fn select(which: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (which, a, b) =
                (_mm512_castps_si512(which), _mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xca>(which, a, b))
        }
    }

    #[inline(always)]
    unsafe fn at_least(value: __m512, least: __m512) -> __m512 {
        // SAFETY: as above. The result is the second operand where one operand is NaN.
        unsafe { _mm512_max_ps(least, value) }
    }

    #[inline(always)]
    unsafe fn flush(value: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let least = _mm512_set1_ps(f32::MIN_POSITIVE);
            let passes = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(value), least);
            _mm512_maskz_mov_ps(passes, value)
        }
    }

    #[inline(always)]
    unsafe fn at_most(value: __m512, most: __m512) -> __m512 {
        // SAFETY: as above. The result is the second operand where one operand is NaN.
        unsafe { _mm512_min_ps(most, value) }
    }

    #[inline(always)]
    unsafe fn larger(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above. The result is the second operand where both are equal or one is NaN.
        unsafe {
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(b, b);
            _mm512_mask_mov_ps(_mm512_max_ps(b, a), is_nan, b)
        }
    }

    #[inline(always)]
    unsafe fn above(value: __m512, at: f32) -> u32 {
        // SAFETY: as above.
        unsafe {
            let magnitude = _mm512_abs_ps(value);
            u32::from(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(magnitude, _mm512_set1_ps(at)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, step: usize, to: &mut [Lanes; 16]) {
        // SAFETY: the caller provides sixteen rows of sixteen floats.
        unsafe {
            let doubles = |v: __m512| _mm512_castps_pd(v);
            let floats = |v: __m512d| _mm512_castpd_ps(v);
            for quarter in 0..4 {
                // Four columns of all rows: rows k, k + 4, k + 8 and k + 12 in the quarters of a vector.
                let mut rows = [_mm512_setzero_ps(); 4];
                for (k, rows) in rows.iter_mut().enumerate() {
                    let at = from.add(k * step + 4 * quarter);
                    let part = |i: usize| _mm_loadu_ps(at.add(4 * i * step));
                    let low = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(part(0)), part(1));
                    let high = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(part(2)), part(3));
                    let low = _mm512_castps256_ps512(low);
                    *rows = floats(_mm512_insertf64x4::<1>(doubles(low), _mm256_castps_pd(high)));
                }
                let [a, b, c, d] = rows;
                let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
                let (ab2, cd2) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
                let columns = [
                    floats(_mm512_unpacklo_pd(doubles(ab), doubles(cd))),
                    floats(_mm512_unpackhi_pd(doubles(ab), doubles(cd))),
                    floats(_mm512_unpacklo_pd(doubles(ab2), doubles(cd2))),
                    floats(_mm512_unpackhi_pd(doubles(ab2), doubles(cd2))),
                ];
                for (to, column) in to[4 * quarter..].iter_mut().zip(columns) {
                    _mm512_storeu_ps(to.0.as_mut_ptr(), column);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sums(pixels: &[Lanes; 8]) -> [f32; 8] {
        // SAFETY: as above; AVX2 is part of the variant.
        unsafe { avx2::sums(pixels) }
    }
}
