//! Runs a kernel with the instructions of this machine.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::{Kernel, Simd, Variant, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, half};

/// Runs a kernel with the instructions of a variant.
pub(crate) fn launch<K: Kernel>(variant: Variant, kernel: K) -> K::Out {
    assert!(variant.is_available(), "{variant} is not available on this machine");
    match variant {
        // SAFETY: the portable implementation needs no instruction set.
        Variant::Scalar => unsafe { scalar::Portable::<16>::call(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: availability was asserted.
        Variant::Avx2 => unsafe { avx2::Avx2::call(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: availability was asserted.
        Variant::Avx512 => unsafe { avx512::Avx512::call(kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: availability was asserted.
        Variant::Neon => unsafe { neon::Neon::call(kernel) },
        #[allow(unreachable_patterns, reason = "which variants exist depends on the architecture")]
        _ => unreachable!("a variant of another architecture is never available"),
    }
}

/// Runs a kernel with vectors of `lanes` floats, which the variant must have.
pub(crate) fn launch_on<K: Kernel>(variant: Variant, lanes: usize, kernel: K) -> K::Out {
    assert!(variant.is_available(), "{variant} is not available on this machine");
    match (variant, lanes) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: availability was asserted.
        (Variant::Avx512, 16) => unsafe { avx512::Avx512::call(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: availability was asserted; AVX2 is part of AVX-512 here.
        (Variant::Avx512 | Variant::Avx2, 8) => unsafe { avx2::Avx2::call(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: availability was asserted; AVX2 is part of AVX-512 here.
        (Variant::Avx512 | Variant::Avx2, 4) => unsafe { half::Half::call(kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: availability was asserted.
        (Variant::Neon, 4) => unsafe { neon::Neon::call(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: availability was asserted; AVX2 is part of AVX-512 here.
        (Variant::Avx512 | Variant::Avx2, 1) => unsafe { half::one(kernel) },
        // SAFETY: the portable implementation needs no instruction set.
        (_, 4) => unsafe { scalar::Portable::<4>::call(kernel) },
        // SAFETY: the portable implementation needs no instruction set.
        (_, 1) => unsafe { scalar::Portable::<1>::call(kernel) },
        _ => unreachable!("vectors of {lanes} floats"),
    }
}
