//! What is there already stays, unless asked otherwise.

use std::path::Path;

/// Refuses to write over what is there, unless that was asked for; `flag` names the file.
pub(super) fn refuse_existing(flag: &str, out: &Path, force: bool) -> anyhow::Result<()> {
    if force || out.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(exists(flag, out))
}

/// The error of a file that is there, and which `flag` names.
pub(super) fn exists(flag: &str, out: &Path) -> anyhow::Error {
    let out = out.display();
    crate::error::usage(format!("{out} exists already; pass another {flag}, or --force"))
}
