//! Sparse networks in the files of other tools.
//!
//! A [`Network`] is the graph of what a model computes, with copies of its tensors; [`export()`] writes it in a [`Format`],
//! [`open`] reads one back, as tensors for a model or as another [`Network`](Opened::network). Writers replace a file whole
//! or not at all, and nothing that is there unless told to. Readers take every file for hostile: an error names the tensor
//! and what is wrong with it, and nothing is allocated that neither the file nor the network justifies.
//!
//! | format | what | read by |
//! | --- | --- | --- |
//! | [`Dense`](Format::Dense) | safetensors, zeros in place | PyTorch, candle, anything that reads safetensors |
//! | [`Bitmask`](Format::Bitmask) | safetensors, a bit for each weight | compressed-tensors |
//! | [`Csr`](Format::Csr) | safetensors, compressed rows | SciPy, by a line for each weight |
//! | [`Npz`](Format::Npz) | a folder with a matrix for each weight | `scipy.sparse.load_npz` |
//! | [`Onnx`](Format::Onnx) | graph and weights, opset 17 | onnxruntime, OpenVINO |
//!
//! ```
//! use std::collections::BTreeMap;
//! use taper_export::{Format, Network, Options, export, open};
//!
//! let model = taper_zoo::build("digits-cnn", 10, 0, &candle_core::Device::Cpu)?;
//! let network = Network::of(&*model, [1, 8, 8], BTreeMap::new())?;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("network.csr.safetensors");
//! let written = export(&network, Format::Csr, &path, &Options::default())?;
//! assert_eq!(written.bytes, std::fs::metadata(&path)?.len());
//!
//! let shapes = model.params().entries().iter().map(|e| (e.name.clone(), e.var.dims().to_vec())).collect();
//! let tensors = open(&path)?.tensors(&shapes)?;
//! model.params().load(|name| tensors.get(name).cloned())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bitmask;
mod csr;
mod element;
mod error;
mod import;
mod kind;
mod names;
mod network;
mod npz;
mod numbers;
mod onnx;
mod source;
mod sparse;
mod stored;
#[cfg(test)]
mod tests;
mod torch;

pub use element::ElementType;
pub use error::ExportError;
pub use import::{Opened, open};
#[doc(hidden)]
pub use import::{check_npz, check_onnx, check_safetensors, check_torch};
pub use kind::is_onnx;
pub use network::Network;
#[doc(no_inline)]
pub use taper_graph as graph;

use std::{fmt, path::Path, str::FromStr};
use taper_train::checkpoint::RawFile;

/// What a network is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Safetensors, zeros in place, under PyTorch's names.
    Dense,
    /// compressed-tensors' `sparse-bitmask` in safetensors.
    Bitmask,
    /// Compressed sparse rows in safetensors.
    Csr,
    /// A folder of SciPy's sparse matrices.
    Npz,
    /// An ONNX graph.
    Onnx,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Dense, Self::Bitmask, Self::Csr, Self::Npz, Self::Onnx];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Bitmask => "bitmask",
            Self::Csr => "csr",
            Self::Npz => "npz",
            Self::Onnx => "onnx",
        }
    }

    /// End of the name of a file of this format.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Dense => ".dense.safetensors",
            Self::Bitmask => ".bitmask.safetensors",
            Self::Csr => ".csr.safetensors",
            Self::Npz => ".npz.d",
            Self::Onnx => ".onnx",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| {
            format!(
                "unknown format `{name}`; the formats are {}",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}

/// How a network is written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Type of the numbers.
    pub element: ElementType,
    /// For [`Format::Bitmask`]: the weight of an output in one row, instead of its last dimension alone.
    pub compact: bool,
    /// For [`Format::Onnx`]: weights as places and values. onnxruntime alone reads them.
    pub sparse_initializers: bool,
    /// Whether what is there may be replaced.
    pub overwrite: bool,
}

/// What has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of all tensors as f32 with their zeros.
    pub dense_bytes: u64,
}

/// Writes a network to `path`, a file or (for [`Format::Npz`]) a folder.
///
/// # Errors
/// If something is there already, the graph is not valid, the format cannot hold the network, or it cannot be written.
/// What was there is then as it was.
pub fn export(
    network: &Network,
    format: Format,
    path: &Path,
    options: &Options,
) -> Result<Written, ExportError> {
    if !options.overwrite && path.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(path.into()));
    }
    network.graph.check()?;
    match format {
        Format::Dense => dense(network, options.element)?.save(path)?,
        Format::Bitmask => bitmask::file(network, options.element, options.compact)?.save(path)?,
        Format::Csr => csr::file(network, options.element)?.save(path)?,
        Format::Npz if options.element != ElementType::F32 => {
            return Err(ExportError::Impossible(format!(
                "SciPy's matrices hold no {}; leave out the type, or choose another format",
                options.element
            )));
        }
        Format::Npz => replace_folder(path, |folder| npz::write(network, folder))?,
        Format::Onnx => {
            let bytes = onnx::bytes(network, options.element, options.sparse_initializers)?;
            taper_record::write_atomically(path, |file| file.write_all(&bytes))
                .map_err(ExportError::io("write", path))?;
        }
    }
    let bytes = bytes_on_disk(path).map_err(ExportError::io("measure", path))?;
    Ok(Written { bytes, dense_bytes: network.bytes() })
}

/// Kind of a dense file in its metadata.
const DENSE: &str = "taper-dense-1";

fn dense(network: &Network, element: ElementType) -> Result<RawFile, ExportError> {
    let mut file = RawFile { metadata: network.metadata().clone(), ..RawFile::default() };
    file.metadata.insert("format".into(), "pt".into());
    file.metadata.insert("kind".into(), DENSE.into());
    file.tensors = network
        .raw(element)
        .map(|stored| stored.map(|(name, raw)| (name.clone(), raw)))
        .collect::<Result<_, _>>()?;
    Ok(file)
}

/// Writes a folder beside `path`, and puts it in its place when it is whole. A folder that is replaced must be one that
/// this crate has written.
fn replace_folder(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let is_there = path.symlink_metadata().is_ok();
    if is_there && !npz::is_ours_alone(path) {
        return Err(ExportError::Impossible(format!(
            "{} is not overwritten: it is no folder of an exported network, or more than that is in it",
            path.display()
        )));
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = |source| ExportError::io("write", path)(source);
    let beside = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).map_err(io)?;
    let new = beside.path().join("new");
    std::fs::create_dir(&new).map_err(io)?;
    write(&new)?;
    if is_there {
        // The old folder goes with the temporary one.
        std::fs::rename(path, beside.path().join("old")).map_err(io)?;
    }
    std::fs::rename(&new, path).map_err(|error| {
        if is_there {
            let _ = std::fs::rename(beside.path().join("old"), path);
        }
        io(error)
    })
}

fn bytes_on_disk(path: &Path) -> std::io::Result<u64> {
    if !path.is_dir() {
        return Ok(path.metadata()?.len());
    }
    std::fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
