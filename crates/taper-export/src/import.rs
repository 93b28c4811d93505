//! Reads files of all formats.

use crate::{
    ExportError, Network, csr,
    kind::{Kind, kind},
    names::{At, Names, is_counter},
    npz,
    numbers::Numbers,
    onnx,
    source::{Source, missing, n_elements, other_shape},
    stored::Stored,
    torch::StateDict,
};
use candle_core::{Device, Tensor};
use safetensors::Dtype;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use taper_train::checkpoint::{RawFile, RawTensor};

/// An opened file. Its tensors are unpacked on request.
#[derive(Debug)]
pub struct Opened {
    path: PathBuf,
    source: Box<dyn Source>,
    names: Names,
}

/// Metadata keys that describe the file or its exact values, not the network.
const OF_FILES: [&str; 7] =
    ["format", "kind", "epoch", "test_accuracy", "validation_accuracy", csr::SHAPES, npz::SHAPES];

/// The values of a tensor.
enum Values {
    Floats(Vec<f32>),
    /// Numbers of batches.
    Counts(Vec<i64>),
}

/// Opens a file of any format, or a folder of `.npz` files. The content decides the format; the name matters only if
/// the content is unknown.
///
/// # Errors
/// If it cannot be read, or its format is unknown.
pub fn open(path: &Path) -> Result<Opened, ExportError> {
    let metadata = std::fs::metadata(path).map_err(ExportError::io("read", path))?;
    if metadata.is_dir() {
        return Ok(Opened::new(path, Box::new(npz::Folder::open(path)?)));
    }
    if !metadata.is_file() {
        return Err(ExportError::malformed(path)("it is neither a file nor a folder".into()));
    }
    let bytes = std::fs::read(path).map_err(ExportError::io("read", path))?;
    Ok(Opened::new(path, source(bytes, path).map_err(ExportError::malformed(path))?))
}

fn source(bytes: Vec<u8>, path: &Path) -> Result<Box<dyn Source>, String> {
    Ok(match kind(&bytes, bytes.len() as u64, path)? {
        Kind::Safetensors => Box::new(Stored::new(RawFile::from_bytes(&bytes)?)),
        Kind::Onnx => Box::new(onnx::Tensors::read(&bytes, Some(path))?),
        Kind::Torch => Box::new(StateDict::read(bytes)?),
    })
}

impl Opened {
    fn new(path: &Path, source: Box<dyn Source>) -> Self {
        let names = Names::of(&source.names());
        Self { path: path.into(), source, names }
    }

    /// A value of the metadata, such as `architecture` or `classes` in files of this crate.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.source.metadata()?.get(key).map(String::as_str)
    }

    /// Checks that the file has exactly the tensors with these names. Only counters of batches may be missing. Names in
    /// the file may be wrapped: with a common prefix, such as `module.`, or with the `_orig_mod` that `torch.compile`
    /// inserts. `W_orig` with `W_mask` from PyTorch's pruning tools is read as `W`.
    ///
    /// # Errors
    /// Lists the missing names, and the names that the network does not have.
    pub fn check_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), ExportError> {
        let wanted = names.collect();
        self.names.prefix(&wanted).map(drop).map_err(ExportError::malformed(&self.path))
    }

    /// Reads the tensors and metadata of the file into the graph of `like`, or into its [folded](Network::folded) graph
    /// if the file has the folded tensors.
    ///
    /// # Errors
    /// As [`tensors`](Self::tensors).
    pub fn network(&self, like: &Network) -> Result<Network, ExportError> {
        let mut network = like.clone();
        if let Err(error) = self.check_names(like.shapes().keys().map(String::as_str)) {
            network = like.folded()?;
            let is_folded = self.check_names(network.shapes().keys().map(String::as_str));
            is_folded.map_err(|_| error)?;
        }
        let shapes = network.shapes();
        let is_whole = |name: &str| is_counter(name) || like.counters.contains_key(name);
        let unpacked =
            self.unpack(&shapes, is_whole).map_err(ExportError::malformed(&self.path))?;
        for (name, values) in unpacked {
            let shape = &shapes[&name];
            match values {
                Values::Floats(values) => {
                    network.graph.add_tensor(name, taper_graph::Tensor::new(shape, values)?);
                }
                Values::Counts(counts) => {
                    let data = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
                    let raw = RawTensor { dtype: Dtype::I64, shape: shape.clone(), data };
                    network.counters.insert(name, raw);
                }
            }
        }
        let metadata = self.source.metadata().into_iter().flatten();
        let metadata = metadata.filter(|(key, _)| !OF_FILES.contains(&key.as_str()));
        network.graph.metadata = metadata.map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(network)
    }

    /// Number of elements of a tensor that is not packed, such as a bias.
    ///
    /// # Errors
    /// If it is missing, packed, or cannot be read.
    pub fn len_of(&self, name: &str) -> Result<usize, ExportError> {
        let len = || {
            let at = self.names.behind_any(name).ok_or_else(|| missing(name))?;
            let (At::Whole(stored) | At::Masked { weight: stored, .. }) = at;
            let shape = self.source.shape(stored)?;
            let shape = shape
                .ok_or_else(|| format!("tensor {stored} is packed, so its size is unknown"))?;
            n_elements(&shape)
                .ok_or_else(|| format!("tensor {stored} has shape {shape:?}, which is too large"))
        };
        len().map_err(ExportError::malformed(&self.path))
    }

    /// The dense tensors of a network with these shapes, on the CPU: f32, and i64 for counters of batches. A counter
    /// that the file lacks is 0. Names are compared as in [`check_names`](Self::check_names).
    ///
    /// # Errors
    /// If a tensor is missing, has another shape, is damaged, holds no floats, or is not in the network.
    pub fn tensors(
        &self,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<BTreeMap<String, Tensor>, ExportError> {
        let unpacked =
            self.unpack(shapes, is_counter).map_err(ExportError::malformed(&self.path))?;
        let tensor = |(name, values): (String, Values)| {
            let shape = &shapes[&name][..];
            let tensor = match values {
                Values::Floats(values) => Tensor::from_vec(values, shape, &Device::Cpu)?,
                Values::Counts(counts) => Tensor::from_vec(counts, shape, &Device::Cpu)?,
            };
            Ok((name, tensor))
        };
        unpacked.into_iter().map(tensor).collect()
    }

    /// The values of tensors with these names and shapes: i64 for names that `is_whole` accepts. Each has the length that
    /// its shape requires.
    fn unpack(
        &self,
        shapes: &BTreeMap<String, Vec<usize>>,
        is_whole: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Values>, String> {
        let wanted: BTreeSet<&str> = shapes.keys().map(String::as_str).collect();
        let prefix = self.names.prefix(&wanted)?;
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes {
            let at = self.names.behind(prefix, name);
            let values = match is_whole(name) {
                true => Values::Counts(self.counts(at, shape)?),
                false => Values::Floats(self.floats(at.ok_or_else(|| missing(name))?, shape)?),
            };
            tensors.insert(name.clone(), values);
        }
        Ok(tensors)
    }

    /// The values of a tensor of the file, which must have this shape.
    fn numbers(&self, stored: &str, shape: &[usize]) -> Result<Numbers, String> {
        match self.source.shape(stored)? {
            Some(found) if found != shape => Err(other_shape(stored, &found, shape)),
            _ => self.source.numbers(stored, shape),
        }
    }

    fn floats(&self, at: &At, shape: &[usize]) -> Result<Vec<f32>, String> {
        let named = |name: &str| {
            let name = name.to_string();
            move |e: String| format!("tensor {name}: {e}")
        };
        match at {
            At::Whole(stored) => self.numbers(stored, shape)?.floats().map_err(named(stored)),
            At::Masked { weight, mask } => {
                let values = self.numbers(weight, shape)?.floats().map_err(named(weight))?;
                let marks = self.numbers(mask, shape)?.whole().map_err(named(mask))?;
                let kept = values.into_iter().zip(marks);
                kept.map(|(value, mark)| match mark {
                    0 => Ok(0.0),
                    1 => Ok(value),
                    _ => {
                        Err(named(mask)(format!("it holds {mark}, but a mask holds only 0 and 1")))
                    }
                })
                .collect()
            }
        }
    }

    /// Numbers of batches. The file may store them in any type, and a single number in any rank.
    fn counts(&self, at: Option<&At>, shape: &[usize]) -> Result<Vec<i64>, String> {
        let n = shape.iter().product();
        let Some(At::Whole(stored)) = at else { return Ok(vec![0; n]) };
        let one = self.source.shape(stored)?.filter(|s| n == 1 && n_elements(s) == Some(1));
        let numbers = self.numbers(stored, one.as_deref().unwrap_or(shape))?;
        numbers.whole().map_err(|e| format!("tensor {stored}: {e}"))
    }
}

/// Checks the bytes of a safetensors file of any kind against a network of these shapes; for fuzzing.
#[doc(hidden)]
pub fn check_safetensors(
    bytes: &[u8],
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<(), String> {
    check(Box::new(Stored::new(RawFile::from_bytes(bytes)?)), shapes)
}

/// The same for ONNX.
#[doc(hidden)]
pub fn check_onnx(bytes: &[u8], shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), String> {
    check(Box::new(onnx::Tensors::read(bytes, None)?), shapes)
}

/// The same for PyTorch.
#[doc(hidden)]
pub fn check_torch(bytes: &[u8], shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), String> {
    check(Box::new(StateDict::read(bytes.to_vec())?), shapes)
}

fn check(source: Box<dyn Source>, shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), String> {
    Opened::new(Path::new(""), source).unpack(shapes, is_counter).map(drop)
}

/// The same for `.npz`, for one weight.
#[doc(hidden)]
pub fn check_npz(bytes: &[u8], shape: &[usize]) -> Result<(), String> {
    npz::weight(bytes, shape).map(drop)
}
