//! Sixteen floats without any particular instructions: the specification of the other variants.

use super::{Kernel, Simd};
use crate::mask::above::is_above;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

// SAFETY: no instruction set is needed.
unsafe impl Simd for Portable {
    const WIDTH: usize = 16;
    const ACCUMULATORS: usize = 16;
    type V = [f32; 16];

    unsafe fn call<K: Kernel>(part: K) -> K::Out {
        // SAFETY: no instruction set is needed.
        unsafe { part.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 16] {
        [value; 16]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 16] {
        // SAFETY: the caller gives sixteen floats.
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 16]) {
        // SAFETY: the caller gives room for sixteen floats.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn fma(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    unsafe fn where_positive(gate: [f32; 16], value: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| if gate[i] <= 0.0 { 0.0 } else { value[i] })
    }

    #[inline(always)]
    unsafe fn above(value: [f32; 16], at: f32) -> u32 {
        value.iter().enumerate().fold(0, |bits, (i, &v)| bits | u32::from(is_above(v, at)) << i)
    }
}
