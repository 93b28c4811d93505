//! Exports sparse networks to the file formats of other tools, and imports them.
//!
//! A [`Network`] is the graph of a model with copies of its tensors. [`export()`] writes it in a [`Format`]. [`open`]
//! reads a file, as tensors for a model or as another [`Network`](Opened::network).
//!
//! Writers replace a file completely or not at all, and only with [`Options::overwrite`]. Readers treat every file as
//! hostile: an error names the tensor and the defect, and allocations are bounded by the size of the file or of the
//! network.
//!
//! | format | content | read by |
//! | --- | --- | --- |
//! | [`Dense`](Format::Dense) | safetensors with zeros stored | PyTorch, candle, anything that reads safetensors |
//! | [`Bitmask`](Format::Bitmask) | safetensors, one bit for each weight and the non-zero values | compressed-tensors |
//! | [`Csr`](Format::Csr) | safetensors, compressed sparse rows | SciPy, with one line of code for each weight |
//! | [`Npz`](Format::Npz) | a folder with one sparse matrix for each weight | `scipy.sparse.load_npz` |
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

/// File format of an exported network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Safetensors with zeros stored, under PyTorch's names.
    Dense,
    /// compressed-tensors' `sparse-bitmask` in safetensors.
    Bitmask,
    /// Compressed sparse rows in safetensors.
    Csr,
    /// A folder of SciPy sparse matrices.
    Npz,
    /// An ONNX graph.
    Onnx,
}

impl Format {
    /// All formats.
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

    /// File name suffix of this format.
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

/// Options of an export.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Element type of the stored floats.
    pub element: ElementType,
    /// For [`Format::Bitmask`]: a row holds all weights of one output, instead of only the last dimension.
    pub compact: bool,
    /// For [`Format::Onnx`]: store weights as indices and values. Only onnxruntime reads them.
    pub sparse_initializers: bool,
    /// Whether an existing file or folder may be replaced.
    pub overwrite: bool,
}

/// Sizes of an exported network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of all tensors as dense f32.
    pub dense_bytes: u64,
}

/// Writes a network to `path`, a file or (for [`Format::Npz`]) a folder.
///
/// # Errors
/// If `path` exists and may not be replaced, the graph is not valid, the format cannot store the network, or writing
/// fails. An existing file or folder is then unchanged.
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
                "SciPy's sparse matrices cannot store {}; export f32, or choose another format",
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

/// Value of `kind` in the metadata of a dense file.
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

/// Writes a temporary folder next to `path`, and moves it to `path` when it is complete. An existing folder is replaced
/// only if it contains nothing but files of this crate.
fn replace_folder(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let is_there = path.symlink_metadata().is_ok();
    if is_there && !npz::is_ours_alone(path) {
        return Err(ExportError::Impossible(format!(
            "{} is not overwritten: it is not the folder of an exported network, or it contains other files; choose another path",
            path.display()
        )));
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = |source| ExportError::io("write", path)(source);
    let beside =
        tempfile::Builder::new().prefix(".taper-partial-").tempdir_in(parent).map_err(io)?;
    let new = beside.path().join("new");
    std::fs::create_dir(&new).map_err(io)?;
    write(&new)?;
    if is_there {
        // The old folder is deleted with the temporary one.
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
