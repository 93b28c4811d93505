//! Errors of usage. Others are those of the crates below, with what was being done.

use taper_host::Usage;

/// An error of usage: a key, an experiment file, or a combination of them.
pub fn usage(message: impl std::fmt::Display) -> anyhow::Error {
    Usage::new(message).into()
}

/// The exit code that an error means.
#[cfg(test)]
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    taper_host::Exit::of(error.as_ref()).code()
}
