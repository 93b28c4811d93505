//! The peers that Taper is compared with.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use super::suite::{INFER, METHODS};

/// Another tool that does the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// PyTorch, for training steps, evaluation and kernels.
    Torch,
    /// onnxruntime, for compiled networks.
    Onnxruntime,
    /// OpenVINO, for compiled networks.
    Openvino,
}

impl Peer {
    /// Its name on the command line and of its Python module.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Torch => "torch",
            Self::Onnxruntime => "onnxruntime",
            Self::Openvino => "openvino",
        }
    }

    /// Whether it can run a suite.
    pub(crate) fn fits(self, suite: &str) -> bool {
        // Methods are compared with each other.
        suite != METHODS && (self == Self::Torch) != (suite == INFER)
    }

    /// Its version; `None` if this Python lacks it or a module that the comparison needs.
    pub(crate) fn version(self, python: &Path) -> Option<String> {
        let (name, with) = match self {
            Self::Torch => ("torch", "safetensors"),
            other => (other.name(), "numpy"),
        };
        // Prevents OpenVINO from forking a telemetry process.
        let without = "import sys; sys.modules['openvino_telemetry'] = None";
        let code = format!("{without}; import {with}, {name}; print({name}.__version__)");
        let output = Command::new(python).args(["-c", &code]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_has_its_peers() {
        let of = |suite| [Peer::Torch, Peer::Onnxruntime, Peer::Openvino].map(|p| p.fits(suite));
        assert_eq!(of("step"), [true, false, false]);
        assert_eq!(of(INFER), [false, true, true]);
        assert_eq!(of(METHODS), [false; 3]);
    }
}
