//! The commands, one a file. Each returns the exit code: 0 fine, 1 failed, 130 interrupted.

pub(crate) mod bench;
pub(crate) mod fetch;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod test;
