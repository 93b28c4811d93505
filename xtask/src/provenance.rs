//! Provenance of results: the commit and the compiler.

use std::path::Path;
use std::process::Command;

/// The checked-out commit, if the folder is a git work tree.
pub(crate) fn commit(root: &Path) -> Option<String> {
    output(root, "git", &["rev-parse", "HEAD"])
}

/// Whether files differ from the commit. Files in `results` do not count: xtask writes them.
pub(crate) fn dirty(root: &Path) -> bool {
    output(root, "git", &["status", "--porcelain", "--", ".", ":!results"]).is_some()
}

/// `rustc 1.95.0 (...)`.
pub(crate) fn rustc() -> Option<String> {
    output(Path::new("."), "rustc", &["--version"])
}

/// The trimmed output of a program; `None` if it cannot be run, fails or prints nothing.
fn output(folder: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(folder).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
