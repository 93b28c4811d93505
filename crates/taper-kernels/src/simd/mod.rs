//! One source for every instruction set.
//!
//! A kernel is written once over [`Simd`] and compiled for each [`Variant`]; [`launch`](launch()) picks the variant at run
//! time. All of them compute on sixteen lanes, in one vector or several, and round after each fused
//! multiply-add alike, so that a result does not depend on the variant, to the bit.

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

/// Vectors of f32 and what kernels do with them.
///
/// # Safety
/// Each function may be called only where the instruction set of the implementation is available, and pointers
/// must be valid for [`WIDTH`](Self::WIDTH) floats. No alignment is needed.
pub(crate) unsafe trait Simd: Copy {
    /// Floats in a vector: a divisor of sixteen.
    const WIDTH: usize;
    /// Vectors of a plane of [`planes`](crate::planes) at most: where a machine has longer vectors, planes of several of
    /// these take them.
    const MOST_VECTORS: usize = usize::MAX;
    /// Accumulators that a kernel may keep in registers beside its operands.
    const ACCUMULATORS: usize;
    /// A vector.
    type V: Copy;

    /// Runs a part of a kernel as a function of its own, so that it has all registers to itself.
    unsafe fn call<K: Kernel>(part: K) -> K::Out;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `value` where `gate` is not at or below 0 (so also where it is NaN), else +0.
    unsafe fn where_positive(gate: Self::V, value: Self::V) -> Self::V;

    /// The lanes one place up: lane 0 is the last lane of `before`.
    unsafe fn up(value: Self::V, before: Self::V) -> Self::V;
    /// The lanes one place down: the last lane is lane 0 of `after`.
    unsafe fn down(value: Self::V, after: Self::V) -> Self::V;
    /// The even and the odd lanes of two vectors, those of `a` first.
    unsafe fn split(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The lanes that `places` name, each below [`WIDTH`](Self::WIDTH).
    unsafe fn permute(value: Self::V, places: *const u32) -> Self::V;
    /// The bits that either has.
    unsafe fn or(a: Self::V, b: Self::V) -> Self::V;
    /// The bits that both have.
    unsafe fn and(a: Self::V, b: Self::V) -> Self::V;
    /// The bits of `a` where those of `which` are 1, else those of `b`; `which` has lanes of equal bits alone.
    unsafe fn select(which: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of `least` and `value`; `value` where it is NaN.
    unsafe fn at_least(value: Self::V, least: Self::V) -> Self::V;
    /// The smaller of `most` and `value`; `value` where it is NaN.
    unsafe fn at_most(value: Self::V, most: Self::V) -> Self::V;

    /// `value`, or 0 where it is denormal.
    unsafe fn flush(value: Self::V) -> Self::V;

    /// The larger of two, `a` where they are equal; NaN where one is.
    unsafe fn larger(a: Self::V, b: Self::V) -> Self::V;

    /// A bit for each lane: whether its magnitude is above `at` or it is NaN; `at` is not NaN.
    unsafe fn above(value: Self::V, at: f32) -> u32;

    /// Asks for the cache line of a place that will be read soon, which need not be valid.
    #[inline(always)]
    fn will_read(_at: *const f32) {}

    /// Stores what is read much later, past the caches where the machine can. [`fence`](Self::fence) must follow before
    /// another thread reads it, or this one.
    ///
    /// # Safety
    /// The place must be a multiple of the vector's size.
    #[inline(always)]
    unsafe fn store_past(to: *mut f32, value: Self::V) {
        // SAFETY: the caller gives the room.
        unsafe { Self::store(to, value) }
    }

    /// Waits for what was stored past the caches.
    #[inline(always)]
    fn fence() {}

    /// Columns of sixteen rows of sixteen floats, each `step` floats behind the one before.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, step: usize, to: &mut [Lanes; 16]) {
        for (column, to) in to.iter_mut().enumerate() {
            for (row, to) in to.0.iter_mut().enumerate() {
                // SAFETY: the caller gives sixteen rows.
                *to = unsafe { *from.add(row * step + column) };
            }
        }
    }

    /// The sum of the lanes of each of eight pixels, as [`halves`] adds them.
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

/// Whether `|w|` is above `at` or NaN.
pub(crate) fn is_above(w: f32, at: f32) -> bool {
    w.abs() > at || w.is_nan()
}

/// The sum of the lanes: the upper half is added to the lower until one is left.
#[inline(always)]
pub(crate) fn halves(Lanes(lanes): &Lanes) -> f32 {
    let a: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let b: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
    (b[0] + b[2]) + (b[1] + b[3])
}

/// Most pixels that [`add_sums`] takes.
const MAX_SUMS: usize = 64;

/// Adds the sum of the lanes of each pixel to one of `sums`, or with `is_first` puts it there, whatever was there before:
/// pixels come in rows of `T`, each row to places `step` behind those of the row before.
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
        // SAFETY: the caller vouches for the instructions.
        *found = unsafe { S::sums(eight) };
    }
    for (pixel, found) in rest.iter().zip(&mut found[8 * eights.len()..]) {
        *found = halves(pixel);
    }
    // Row by row rather than one by one: a row is added by a vector or two.
    for (row, found) in found[..flat.len()].as_chunks::<T>().0.iter().enumerate() {
        let sums = &mut sums[row * step..][..T];
        if is_first {
            sums.copy_from_slice(found);
        } else {
            sums.iter_mut().zip(found).for_each(|(sum, part)| *sum += part);
        }
    }
}

/// Something to compute for any instruction set.
///
/// `run` and all that it calls must be inlined (`#[inline(always)]`): only then are they compiled for the
/// instruction set of their caller.
pub(crate) trait Kernel {
    /// What it gives.
    type Out;

    /// Computes it.
    ///
    /// # Safety
    /// The instruction set of `S` must be available.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}
