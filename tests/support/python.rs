//! Finds a Python for the interoperability tests.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// A Python that can import these modules: `TAPER_PYTHON`, else the environment of `.ci/setup-python`, else `python3`.
/// Prints a message if there is none.
pub fn python(modules: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let candidates = [
        std::env::var_os("TAPER_PYTHON").map(PathBuf::from),
        cache.map(|cache| cache.join("taper/venv/bin/python")),
        Some(PathBuf::from("python3")),
    ];
    let can_import = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {modules}")]);
        command.output().is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().flatten().find(can_import);
    if found.is_none() {
        skip(&format!("no Python with {modules}; .ci/setup-python makes one"));
    }
    found
}

/// Prints why a test is skipped, even where the test runner captures output.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
