//! Which instruction set the kernels use.
//!
//! It is one for the process, as is the machine, and changes no bit. [`Variant::with`] sets another on one thread, for tests
//! that compare all of them.

use std::{cell::Cell, fmt, str::FromStr, sync::OnceLock};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// No particular instructions: the specification of the others.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// NEON.
    Neon,
}

/// A name that is no variant, or one that this machine does not have.
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

    /// The name that `TAPER_KERNELS` takes.
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

    /// Floats of the vectors that [`planes`](crate::planes) takes, widest first. Those of no instruction set are as wide as
    /// most machines have them; wider ones are a lot of code and no faster.
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

    /// What the environment variable `TAPER_KERNELS` asks for, or else the fastest of this machine.
    ///
    /// # Errors
    /// If the variable names no variant of this machine.
    pub fn from_env() -> Result<Self, UnknownVariant> {
        match std::env::var_os("TAPER_KERNELS") {
            None => Ok(Self::fastest()),
            Some(name) => name.to_string_lossy().parse(),
        }
    }

    /// The variant in use: that of the innermost [`with`](Self::with), or [`from_env`](Self::from_env), asked once. Where
    /// the variable names no variant of this machine, it is the fastest; a program that wants to refuse such a name asks
    /// [`from_env`](Self::from_env) itself.
    pub fn current() -> Self {
        static CHOSEN: OnceLock<Variant> = OnceLock::new();
        FORCED.get().unwrap_or_else(|| {
            *CHOSEN.get_or_init(|| Self::from_env().unwrap_or_else(|_| Self::fastest()))
        })
    }

    /// Calls `f` with this variant in use by the kernels that `f` calls on this thread.
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
