//! Where PyTorch is, and how it is used.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use taper_host::Usage;

use super::Peer;

/// A way to write the peer in PyTorch, as `benches/peers/step.py` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TorchVariant {
    /// As Feather's published code: the cut by sorting.
    Published,
    /// The cut by selection, and the fused optimizer.
    Tuned,
    /// The tuned one, compiled.
    Compiled,
}

impl TorchVariant {
    /// Those that are compared in a suite of networks: finding a cut has nothing to compile.
    pub(crate) fn of(suite: &str) -> &'static [Self] {
        let all = &[Self::Published, Self::Tuned, Self::Compiled];
        if suite == "cut" { &all[..2] } else { all }
    }

    /// As the peer takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Tuned => "tuned",
            Self::Compiled => "compiled",
        }
    }

    /// The side of a comparison.
    pub(crate) fn side(self) -> &'static str {
        match self {
            Self::Published => "torch published",
            Self::Tuned => "torch tuned",
            Self::Compiled => "torch compiled",
        }
    }
}

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
