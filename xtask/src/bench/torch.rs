//! Where PyTorch is.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use taper_host::Usage;

use super::Peer;

/// A Python that has PyTorch: `TAPER_PYTHON`, the environment that `.ci/setup-python` makes, or `python3`.
///
/// # Errors
/// When the one of `TAPER_PYTHON` has none.
pub(crate) fn torch_python() -> Result<Option<PathBuf>> {
    let has_torch = |python: &PathBuf| Peer::Torch.version(python).is_some();
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
