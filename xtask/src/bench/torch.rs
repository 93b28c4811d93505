//! Finds PyTorch, and lists the variants of its peer.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use taper_host::Usage;

use super::Peer;

/// A variant of the PyTorch peer, described in `benches/peers/step.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TorchVariant {
    /// As Feather's published code: finds the threshold by sorting.
    Published,
    /// Finds the threshold by selection, and uses the fused optimizer.
    Tuned,
    /// `Tuned`, with the model compiled.
    Compiled,
}

impl TorchVariant {
    /// The variants that a suite of networks compares. The suite `cut` has no model to compile.
    pub(crate) fn of(suite: &str) -> &'static [Self] {
        let all = &[Self::Published, Self::Tuned, Self::Compiled];
        if suite == "cut" { &all[..2] } else { all }
    }

    /// Its name in requests to the peer.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Tuned => "tuned",
            Self::Compiled => "compiled",
        }
    }

    /// Its name in tables.
    pub(crate) fn side(self) -> &'static str {
        match self {
            Self::Published => "torch published",
            Self::Tuned => "torch tuned",
            Self::Compiled => "torch compiled",
        }
    }
}

/// A Python with PyTorch: `TAPER_PYTHON`, the environment of `.ci/setup-python`, or `python3`.
///
/// # Errors
/// If `TAPER_PYTHON` is set and its Python has no PyTorch.
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
    // The name depends on the operating system.
    let made =
        ["bin/python", "Scripts/python.exe"].map(|python| Path::new("taper/venv").join(python));
    let made = made.iter().filter_map(|python| Some(cache.as_ref()?.join(python)));
    Ok(made.chain(["python3", "python"].map(PathBuf::from)).find(has_torch))
}
