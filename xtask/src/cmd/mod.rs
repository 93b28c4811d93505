//! The commands of xtask, one file each. Each returns its exit code.

pub(crate) mod bench;
pub(crate) mod fetch;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod test;
