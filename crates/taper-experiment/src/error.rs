//! Usage errors. Other errors come from the crates below, with a context.

use taper_host::Usage;

/// A usage error: a wrong key, experiment file or combination of keys.
pub fn usage(message: impl std::fmt::Display) -> anyhow::Error {
    Usage::new(message).into()
}

/// The exit code of an error.
#[cfg(test)]
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    taper_host::Exit::of(error.as_ref()).code()
}
