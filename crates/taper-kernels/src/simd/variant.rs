//! Which instruction set the kernels use.
//!
//! The whole process uses one variant. The choice changes no bit of a result. [`Variant::with`] sets another variant on
//! one thread, for tests that compare all of them.

use std::{cell::Cell, fmt, str::FromStr, sync::OnceLock};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// No special instructions: the specification of the other variants.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// NEON.
    Neon,
}

/// A name that is not a variant of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariant(String);

impl fmt::Display for UnknownVariant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TAPER_KERNELS={} is not one of", self.0)?;
        Variant::available().try_for_each(|variant| write!(f, " {variant}"))
    }
}

impl std::error::Error for UnknownVariant {}

thread_local! {
    static FORCED: Cell<Option<Variant>> = const { Cell::new(None) };
}

impl Variant {
    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// The name, as a value of the environment variable `TAPER_KERNELS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[allow(unreachable_patterns, reason = "depends on the architecture")]
            _ => false,
        }
    }

    /// Vector lengths in floats for [`planes`](crate::planes), longest first. [`Scalar`](Self::Scalar) has the length
    /// that most machines have; longer vectors need much more code and are not faster.
    pub fn lanes(self) -> &'static [usize] {
        match self {
            Self::Avx512 => &[16, 8, 4, 1],
            Self::Avx2 => &[8, 4, 1],
            Self::Neon | Self::Scalar => &[4, 1],
        }
    }

    /// The variants of this machine, fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|variant| variant.is_available())
    }

    /// The fastest variant of this machine.
    pub fn fastest() -> Self {
        Self::available().next().unwrap_or(Self::Scalar)
    }

    /// The variant that the environment variable `TAPER_KERNELS` names, or the fastest of this machine if it is not
    /// set.
    ///
    /// # Errors
    /// If the variable names no variant of this machine.
    pub fn from_env() -> Result<Self, UnknownVariant> {
        match std::env::var_os("TAPER_KERNELS") {
            None => Ok(Self::fastest()),
            Some(name) => name.to_string_lossy().parse(),
        }
    }

    /// The variant in use: that of the innermost [`with`](Self::with), else the result of [`from_env`](Self::from_env),
    /// which is read once. If the environment variable names no variant of this machine, this is the fastest variant. A
    /// program that rejects such names must call [`from_env`](Self::from_env).
    pub fn current() -> Self {
        static CHOSEN: OnceLock<Variant> = OnceLock::new();
        FORCED.get().unwrap_or_else(|| {
            *CHOSEN.get_or_init(|| Self::from_env().unwrap_or_else(|_| Self::fastest()))
        })
    }

    /// Calls `f`. The kernels that `f` calls on this thread use this variant.
    pub fn with<R>(self, f: impl FnOnce() -> R) -> R {
        struct Restore(Option<Variant>);
        impl Drop for Restore {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let _restore = Restore(FORCED.replace(Some(self)));
        f()
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Self, UnknownVariant> {
        Self::available()
            .find(|variant| variant.name() == name)
            .ok_or_else(|| UnknownVariant(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for variant in Variant::available() {
            assert_eq!(variant.name().parse(), Ok(variant));
        }
        let error = "sse9".parse::<Variant>().unwrap_err().to_string();
        assert!(error.contains("sse9") && error.contains("scalar"), "{error}");
    }

    #[test]
    fn a_forced_variant_ends_with_its_call() {
        let before = Variant::current();
        Variant::Scalar.with(|| assert_eq!(Variant::current(), Variant::Scalar));
        assert_eq!(Variant::current(), before);
    }
}
