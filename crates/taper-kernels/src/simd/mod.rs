//! Vector operations: one source for every instruction set.
//!
//! A kernel is written once over [`Simd`] and compiled for each [`Variant`]; [`launch`](launch()) picks the variant at
//! run time. Every variant computes on sixteen lanes, in one or several vectors, and rounds each fused multiply-add
//! once. Results are therefore bit-identical for all variants.

pub(crate) mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod half;
pub(crate) mod lanes;
mod launch;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod variant;

pub(crate) use ahead::Ahead;
#[cfg(feature = "training")]
pub(crate) use ahead::Stretch;
pub use lanes::Lanes;
pub(crate) use launch::{launch, launch_on};
pub use variant::{UnknownVariant, Variant};

/// Vectors of f32, and the operations that kernels need.
///
/// # Safety
/// Each function may be called only where the instruction set of the implementation is available, and pointers
/// must be valid for [`WIDTH`](Self::WIDTH) floats. No alignment is needed.
pub(crate) unsafe trait Simd: Copy {
    /// Floats per vector, a divisor of sixteen.
    const WIDTH: usize;
    /// Maximum vectors per plane of [`planes`](crate::planes). Where the machine has longer vectors, larger planes use
    /// those.
    const MOST_VECTORS: usize = usize::MAX;
    /// Accumulators that fit in registers beside a kernel's operands.
    const ACCUMULATORS: usize;
    /// A vector.
    type V: Copy;

    /// Runs a part of a kernel as a separate function. All registers are then available to it.
    unsafe fn call<K: Kernel>(part: K) -> K::Out;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `value` where `gate` is above 0 or NaN, else +0.
    unsafe fn where_positive(gate: Self::V, value: Self::V) -> Self::V;

    /// Shifts the lanes up by one: lane 0 becomes the last lane of `before`.
    unsafe fn up(value: Self::V, before: Self::V) -> Self::V;
    /// Shifts the lanes down by one: the last lane becomes lane 0 of `after`.
    unsafe fn down(value: Self::V, after: Self::V) -> Self::V;
    /// The even lanes and the odd lanes of two vectors; the lanes of `a` come first.
    unsafe fn split(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The lanes at the indices `places`, each below [`WIDTH`](Self::WIDTH).
    unsafe fn permute(value: Self::V, places: *const u32) -> Self::V;
    /// Bitwise or.
    unsafe fn or(a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise and.
    unsafe fn and(a: Self::V, b: Self::V) -> Self::V;
    /// Per lane: `a` where the bits of `which` are 1, else `b`. All bits of a lane of `which` must be equal.
    unsafe fn select(which: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The maximum of `least` and `value`; `value` where it is NaN.
    unsafe fn at_least(value: Self::V, least: Self::V) -> Self::V;
    /// The minimum of `most` and `value`; `value` where it is NaN.
    unsafe fn at_most(value: Self::V, most: Self::V) -> Self::V;

    /// `value`, or 0 where it is denormal.
    unsafe fn flush(value: Self::V) -> Self::V;

    /// The maximum, `a` where both are equal; NaN where one is NaN.
    unsafe fn larger(a: Self::V, b: Self::V) -> Self::V;

    /// One bit per lane: 1 if its magnitude is above `at` or if it is NaN. `at` must not be NaN.
    unsafe fn above(value: Self::V, at: f32) -> u32;

    /// Prefetches the cache line of an address, which need not be valid.
    #[inline(always)]
    fn will_read(_at: *const f32) {}

    /// Stores a value that is read much later: past the caches (a non-temporal store) where the machine can.
    /// [`fence`](Self::fence) must follow before any thread reads it, this thread included.
    ///
    /// # Safety
    /// The address must be a multiple of the vector's size.
    #[inline(always)]
    unsafe fn store_past(to: *mut f32, value: Self::V) {
        // SAFETY: the caller provides the room.
        unsafe { Self::store(to, value) }
    }

    /// Waits for the stores past the caches.
    #[inline(always)]
    fn fence() {}

    /// Transposes sixteen rows of sixteen floats. Each row begins `step` floats after the row before.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, step: usize, to: &mut [Lanes; 16]) {
        for (column, to) in to.iter_mut().enumerate() {
            for (row, to) in to.0.iter_mut().enumerate() {
                // SAFETY: the caller provides sixteen rows.
                *to = unsafe { *from.add(row * step + column) };
            }
        }
    }

    /// The sum of the lanes of each of eight pixels, in the order of [`halves`].
    #[inline(always)]
    unsafe fn sums(pixels: &[Lanes; 8]) -> [f32; 8] {
        std::array::from_fn(|i| halves(&pixels[i]))
    }
}

/// The value, or 0 where it is denormal: arithmetic on denormal numbers is slow on many machines.
#[inline(always)]
pub fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0.0 } else { value }
}

/// Whether `|w|` is above `at`, or `w` is NaN.
pub(crate) fn is_above(w: f32, at: f32) -> bool {
    w.abs() > at || w.is_nan()
}

/// The sum of the lanes: the upper half is added to the lower half until one lane is left.
#[inline(always)]
pub(crate) fn halves(Lanes(lanes): &Lanes) -> f32 {
    let a: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let b: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
    (b[0] + b[2]) + (b[1] + b[3])
}

/// Maximum number of pixels of [`add_sums`].
const MAX_SUMS: usize = 64;

/// Sums the lanes of each pixel and adds the result to one of `sums`; with `is_first`, overwrites it. Pixels come in
/// rows of `T`. Each row goes to places `step` after those of the row before.
///
/// # Safety
/// The instructions of `S` must be available.
#[inline(always)]
pub(crate) unsafe fn add_sums<S: Simd, const T: usize>(
    pixels: &[[Lanes; T]],
    sums: &mut [f32],
    step: usize,
    is_first: bool,
) {
    let flat = pixels.as_flattened();
    let mut found = [0.0; MAX_SUMS];
    let (eights, rest) = flat.as_chunks::<8>();
    for (eight, found) in eights.iter().zip(found.as_chunks_mut::<8>().0) {
        // SAFETY: the caller guarantees the instruction set.
        *found = unsafe { S::sums(eight) };
    }
    for (pixel, found) in rest.iter().zip(&mut found[8 * eights.len()..]) {
        *found = halves(pixel);
    }
    // By rows, as one or two vectors add a row.
    for (row, found) in found[..flat.len()].as_chunks::<T>().0.iter().enumerate() {
        let sums = &mut sums[row * step..][..T];
        if is_first {
            sums.copy_from_slice(found);
        } else {
            sums.iter_mut().zip(found).for_each(|(sum, part)| *sum += part);
        }
    }
}

/// A computation for any instruction set.
///
/// `run` and all functions that it calls must be inlined (`#[inline(always)]`). Otherwise they are not compiled for the
/// instruction set of the caller.
pub(crate) trait Kernel {
    /// The result.
    type Out;

    /// Computes the result.
    ///
    /// # Safety
    /// The instruction set of `S` must be available.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}
