//! Reading files of any of the formats.

use crate::{ExportError, bitmask, csr, element, npz, onnx, sparse::StatedShapes, torch};
use candle_core::{DType, Device, Tensor};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use taper_train::checkpoint::RawFile;

/// A file whose tensors have not been unpacked yet.
#[derive(Debug)]
pub struct Opened {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Safetensors, with weights as they are, as bits, or as rows.
    Safetensors(RawFile),
    /// What is no weight, and the files of the weights.
    Npz(RawFile, BTreeMap<String, PathBuf>),
    Onnx(onnx::Tensors),
    Torch(torch::StateDict),
}

/// Opens a file of any format; which one it is can be seen from its content, and for ONNX and PyTorch from its name
/// (`.onnx`, `.pt`, `.pth`, `.bin`).
///
/// # Errors
/// If it cannot be read, or is of no format that is known.
pub fn open(path: &Path) -> Result<Opened, ExportError> {
    let end = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    let content = match &end[..] {
        _ if path.is_dir() => folder(path)?,
        "onnx" => {
            let bytes = std::fs::read(path).map_err(ExportError::io("read", path))?;
            Content::Onnx(onnx::Tensors::read(&bytes).map_err(ExportError::malformed(path))?)
        }
        "pt" | "pth" | "bin" => {
            std::fs::metadata(path).map_err(ExportError::io("read", path))?;
            Content::Torch(torch::StateDict::read(path).map_err(ExportError::malformed(path))?)
        }
        _ => Content::Safetensors(RawFile::load(path)?),
    };
    Ok(Opened { path: path.into(), content })
}

fn folder(path: &Path) -> Result<Content, ExportError> {
    if !path.join(npz::REST).is_file() {
        let reason = format!("it is a folder without a {}", npz::REST);
        return Err(ExportError::malformed(path)(reason));
    }
    let rest = RawFile::load(&path.join(npz::REST))?;
    if !npz::is_ours(&rest) {
        let reason = format!("its {} is not of an exported network", npz::REST);
        return Err(ExportError::malformed(path)(reason));
    }
    let mut weights = BTreeMap::new();
    for entry in std::fs::read_dir(path).map_err(ExportError::io("list", path))? {
        let entry = entry.map_err(ExportError::io("list", path))?;
        let file = entry.path();
        let name = file.file_name().and_then(|n| n.to_str()?.strip_suffix(".npz"));
        // A link to a file counts as the file; a pipe or a device could have no end.
        let is_file = std::fs::metadata(&file).is_ok_and(|meta| meta.is_file());
        if let Some(name) = name.filter(|_| is_file) {
            weights.insert(name.to_string(), file.clone());
        }
    }
    Ok(Content::Npz(rest, weights))
}

impl Opened {
    /// A piece of the metadata that a file of ours carries, such as `architecture` or `classes`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let metadata = match &self.content {
            Content::Safetensors(file) | Content::Npz(file, _) => &file.metadata,
            Content::Onnx(tensors) => &tensors.metadata,
            Content::Torch(_) => return None,
        };
        metadata.get(key).map(String::as_str)
    }

    /// Whether the file has a tensor of every one of these names and no other, but for counters of batches.
    ///
    /// # Errors
    /// What is missing, or too much.
    pub fn check_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), ExportError> {
        self.compare_names(&names.collect()).map_err(ExportError::malformed(&self.path))
    }

    fn compare_names(&self, wanted: &BTreeSet<&str>) -> Result<(), String> {
        let found = self.names();
        if let Some(name) = found.iter().find(|name| !wanted.contains(name.as_str())) {
            return Err(format!("tensor {name} is none of the network's"));
        }
        match wanted.iter().find(|name| !found.contains(**name) && !is_counter(name)) {
            Some(name) => Err(missing(name)),
            None => Ok(()),
        }
    }

    /// Number of elements of a tensor that is stored as it is, such as a bias.
    pub fn len_of(&self, name: &str) -> Option<usize> {
        match &self.content {
            Content::Safetensors(file) | Content::Npz(file, _) => {
                let tensor = file.tensors.get(name)?;
                Some(tensor.data.len() / element::width(tensor.dtype)?)
            }
            Content::Onnx(tensors) => tensors.len(name),
            Content::Torch(tensors) => Some(tensors.dims(name)?.iter().product()),
        }
    }

    /// The tensors of a network whose entries have these shapes, with their zeros, on the CPU: f32, and i64 for counters
    /// of batches, which are 0 where the file has none.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, damaged, or none of the network's.
    pub fn tensors(
        &self,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<BTreeMap<String, Tensor>, ExportError> {
        self.unpack(shapes).map_err(ExportError::malformed(&self.path))
    }

    fn unpack(
        &self,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<BTreeMap<String, Tensor>, String> {
        self.compare_names(&shapes.keys().map(String::as_str).collect())?;
        let stated = match &self.content {
            Content::Safetensors(file) => StatedShapes::of(&file.metadata, csr::SHAPES),
            Content::Npz(rest, _) => StatedShapes::of(&rest.metadata, npz::SHAPES),
            Content::Onnx(_) | Content::Torch(_) => StatedShapes::default(),
        };
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes {
            let tensor = self.tensor(name, shape, &stated)?;
            if tensor.dims() != shape {
                return Err(other_shape(name, tensor.dims(), shape));
            }
            tensors.insert(name.clone(), tensor);
        }
        Ok(tensors)
    }

    /// Names of the tensors, packed or not.
    fn names(&self) -> BTreeSet<String> {
        match &self.content {
            Content::Safetensors(file) => {
                let modules = bitmask::modules(file);
                let rows = csr::names(file);
                let is_part = |name: &str| match name.rsplit_once('.') {
                    Some((of, part)) => {
                        bitmask::is_part(part) && modules.contains(&of)
                            || csr::is_part(part) && rows.contains(&of)
                    }
                    None => false,
                };
                let plain = file.tensors.keys().filter(|name| !is_part(name)).cloned();
                let masked = modules.iter().map(|module| format!("{module}.weight"));
                plain.chain(masked).chain(rows.iter().map(|name| (*name).to_string())).collect()
            }
            Content::Npz(rest, weights) => {
                rest.tensors.keys().chain(weights.keys()).cloned().collect()
            }
            Content::Onnx(tensors) => tensors.names().map(String::from).collect(),
            Content::Torch(tensors) => tensors.names().cloned().collect(),
        }
    }

    fn tensor(&self, name: &str, shape: &[usize], stated: &StatedShapes) -> Result<Tensor, String> {
        let told = |error: candle_core::Error| format!("tensor {name}: {error}");
        let of = |values: Vec<f32>| Tensor::from_vec(values, shape, &Device::Cpu).map_err(told);
        let stored = |file: &RawFile| -> Result<Option<Tensor>, String> {
            let Some(raw) = file.tensors.get(name) else { return Ok(None) };
            let tensor = raw.tensor().map_err(|reason| format!("tensor {name}: {reason}"))?;
            Ok(Some(as_network(&tensor).map_err(told)?))
        };
        let found = match &self.content {
            Content::Safetensors(file) => {
                let module = name.strip_suffix(".weight").unwrap_or(name);
                if file.tensors.contains_key(&format!("{module}.bitmask")) {
                    Some(of(bitmask::weight(&file.tensors, module, shape)?)?)
                } else if file.tensors.contains_key(&format!("{name}.indptr")) {
                    stated.check(name, shape)?;
                    Some(of(csr::weight(file, name, shape)?)?)
                } else {
                    stored(file)?
                }
            }
            Content::Npz(rest, weights) => match weights.get(name) {
                Some(path) => {
                    stated.check(name, shape)?;
                    let bytes = std::fs::read(path)
                        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                    let named = |e: String| format!("{}: {e}", path.display());
                    Some(of(npz::weight(&bytes, shape).map_err(named)?)?)
                }
                None => stored(rest)?,
            },
            Content::Onnx(tensors) => match tensors.names().any(|n| n == name) {
                true => Some(of(tensors.values(name, shape)?)?),
                false => None,
            },
            // Before it is read, as several entries of a file can be of one storage.
            Content::Torch(tensors) => match tensors.dims(name) {
                Some(dims) if dims != shape => return Err(other_shape(name, dims, shape)),
                _ => tensors.tensor(name)?.map(|t| as_network(&t).map_err(told)).transpose()?,
            },
        };
        match found {
            Some(tensor) => Ok(tensor),
            None if is_counter(name) => {
                Tensor::zeros(shape, DType::I64, &Device::Cpu).map_err(told)
            }
            None => Err(missing(name)),
        }
    }
}

/// Whether a tensor counts batches; not every format has a place for that.
fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn missing(name: &str) -> String {
    format!("tensor {name} is missing")
}

fn other_shape(name: &str, found: &[usize], needed: &[usize]) -> String {
    format!("tensor {name} has shape {found:?} where the network has {needed:?}")
}

/// In the types that networks have.
fn as_network(tensor: &Tensor) -> candle_core::Result<Tensor> {
    match tensor.dtype() {
        DType::I64 => Ok(tensor.clone()),
        _ => tensor.to_dtype(DType::F32),
    }
}

/// What is wrong with the bytes of a safetensors file of any kind, for a network of these shapes; for fuzzing.
#[doc(hidden)]
pub fn check_safetensors(
    bytes: &[u8],
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<(), String> {
    let file = RawFile::from_bytes(bytes)?;
    Opened { path: PathBuf::new(), content: Content::Safetensors(file) }.unpack(shapes).map(drop)
}

/// The same for ONNX.
#[doc(hidden)]
pub fn check_onnx(bytes: &[u8], shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), String> {
    let tensors = onnx::Tensors::read(bytes)?;
    Opened { path: PathBuf::new(), content: Content::Onnx(tensors) }.unpack(shapes).map(drop)
}

/// The same for `.npz`, for one weight.
#[doc(hidden)]
pub fn check_npz(bytes: &[u8], shape: &[usize]) -> Result<(), String> {
    npz::weight(bytes, shape).map(drop)
}
