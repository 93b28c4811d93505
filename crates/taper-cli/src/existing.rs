//! Existing files are not overwritten without `--force`.

use std::path::Path;

/// Fails if `out` exists and `force` is false. `flag` is the option with the path of the file.
pub(super) fn refuse_existing(flag: &str, out: &Path, force: bool) -> anyhow::Result<()> {
    if force || out.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(exists(flag, out))
}

/// The error for an existing file. `flag` is the option with its path.
pub(super) fn exists(flag: &str, out: &Path) -> anyhow::Error {
    let out = out.display();
    crate::error::usage(format!("{out} exists already; pass another {flag}, or --force"))
}

/// Fails if a converted file would replace the file that it is read from, or a file of the folder that it is read from,
/// even with `--force`.
pub(super) fn refuse_input(from: &Path, out: &Path) -> anyhow::Result<()> {
    match (from.canonicalize(), out.canonicalize()) {
        (Ok(from), Ok(real)) if real.starts_with(&from) => {
            let what = if real == from { "is the input file" } else { "is in the input folder" };
            Err(crate::error::usage(format!("{} {what}; pass another --out", out.display())))
        }
        _ => Ok(()),
    }
}
