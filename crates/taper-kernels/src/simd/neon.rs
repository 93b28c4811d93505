//! NEON: four floats in a vector.

use super::{Kernel, Simd};
use std::arch::{aarch64::*, asm};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

// SAFETY: each function is one instruction or two, on as many floats as the trait requires.
unsafe impl Simd for Neon {
    const WIDTH: usize = 4;
    const ACCUMULATORS: usize = 24;
    type V = float32x4_t;

    #[inline(never)]
    #[target_feature(enable = "neon")]
    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: the caller guarantees the instruction set, here and below.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller provides four floats.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        // SAFETY: the caller provides room for four floats.
        unsafe { vst1q_f32(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: as above; the accumulator comes first.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn up(value: float32x4_t, before: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vextq_f32::<3>(before, value) }
    }

    #[inline(always)]
    unsafe fn down(value: float32x4_t, after: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vextq_f32::<1>(value, after) }
    }

    #[inline(always)]
    unsafe fn split(a: float32x4_t, b: float32x4_t) -> [float32x4_t; 2] {
        // SAFETY: as above.
        unsafe { [vuzp1q_f32(a, b), vuzp2q_f32(a, b)] }
    }

    #[inline(always)]
    unsafe fn permute(value: float32x4_t, places: *const u32) -> float32x4_t {
        // SAFETY: as above; the caller provides four places. Each place selects four bytes.
        unsafe {
            let first = vmulq_n_u32(vld1q_u32(places), 0x0404_0404);
            let bytes = vaddq_u32(first, vdupq_n_u32(0x0302_0100));
            let value = vreinterpretq_u8_f32(value);
            vreinterpretq_f32_u8(vqtbl1q_u8(value, vreinterpretq_u8_u32(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn or(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let either = vorrq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
            vreinterpretq_f32_u32(either)
        }
    }

    #[inline(always)]
    unsafe fn and(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let both = vandq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
            vreinterpretq_f32_u32(both)
        }
    }

    #[inline(always)]
    unsafe fn select(which: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vbslq_f32(vreinterpretq_u32_f32(which), a, b) }
    }

    #[inline(always)]
    unsafe fn at_least(value: float32x4_t, least: float32x4_t) -> float32x4_t {
        // SAFETY: as above. A maximum would prefer 0 to −0, and NaN in `least` to the value.
        unsafe { vbslq_f32(vcgtq_f32(least, value), least, value) }
    }

    #[inline(always)]
    unsafe fn flush(value: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let is_less = vcaltq_f32(value, vdupq_n_f32(f32::MIN_POSITIVE));
            vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), is_less))
        }
    }

    #[inline(always)]
    unsafe fn at_most(value: float32x4_t, most: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vbslq_f32(vcltq_f32(most, value), most, value) }
    }

    #[inline(always)]
    unsafe fn larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let is_number = vceqq_f32(a, a);
            vbslq_f32(vornq_u32(vcgeq_f32(a, b), is_number), a, b)
        }
    }

    #[inline(always)]
    unsafe fn above(value: float32x4_t, at: f32) -> u32 {
        // SAFETY: as above; the array has four values, one for each lane.
        unsafe {
            let at_or_below = vcleq_f32(vabsq_f32(value), vdupq_n_f32(at));
            let bits = vbicq_u32(vld1q_u32([1, 2, 4, 8].as_ptr()), at_or_below);
            vaddvq_u32(bits)
        }
    }

    #[inline(always)]
    fn will_read(at: *const f32) {
        // SAFETY: a prefetch hint cannot fail, whatever the address.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn where_positive(gate: float32x4_t, value: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let blocked = vcleq_f32(gate, vdupq_n_f32(0.0));
            vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), blocked))
        }
    }
}
