//! Where PyTorch is, and which.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use taper_report::host::Usage;

/// A Python that has PyTorch: `TAPER_PYTHON`, the environment that `.ci/setup-python` makes, or `python3`.
///
/// # Errors
/// When the one of `TAPER_PYTHON` has none.
pub(crate) fn torch_python() -> Result<Option<PathBuf>> {
    let has_torch = |python: &PathBuf| torch_version(python).is_some();
    if let Some(python) = std::env::var_os("TAPER_PYTHON").map(PathBuf::from) {
        ensure!(
            has_torch(&python),
            Usage::new(format!(
                "TAPER_PYTHON is {}, which cannot import torch and safetensors",
                python.display()
            ))
        );
        return Ok(Some(python));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    // As the systems name it.
    let made =
        ["bin/python", "Scripts/python.exe"].map(|python| Path::new("taper/venv").join(python));
    let made = made.iter().filter_map(|python| Some(cache.as_ref()?.join(python)));
    Ok(made.chain(["python3", "python"].map(PathBuf::from)).find(has_torch))
}

/// Version of the PyTorch of a Python; none if that, or safetensors, is not there.
pub(crate) fn torch_version(python: &Path) -> Option<String> {
    let code = "import safetensors, torch; print(torch.__version__)";
    let output = Command::new(python).args(["-c", code]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
