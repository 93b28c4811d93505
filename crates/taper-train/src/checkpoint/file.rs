//! Safetensors files with sorted headers.
//!
//! The `safetensors` crate writes its metadata in the order of a hash map, which differs from run to run; this
//! writer sorts, so that equal content gives equal bytes. Reading is left to the crate, which checks every offset
//! against the file.

use crate::write_atomically;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be read or written.
    #[error("cannot {action} checkpoint {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("checkpoint {} is unusable: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A tensor could not be copied.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl CheckpointError {
    pub(crate) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed { path: path.to_path_buf(), reason: reason.to_string() }
    }
}

/// Named tensors with metadata.
#[derive(Clone, Debug, Default)]
pub struct TensorFile {
    /// Metadata: short texts.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name: f32, f64, i64, u32 or u8.
    pub tensors: BTreeMap<String, Tensor>,
}

impl TensorFile {
    /// Writes the file, or leaves what was there.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        // Large elements first keeps every tensor aligned, as the format asks.
        let mut order: Vec<(&String, &Tensor)> = self.tensors.iter().collect();
        order.sort_by_key(|(name, tensor)| {
            (std::cmp::Reverse(tensor.dtype().size_in_bytes()), (*name).clone())
        });
        let (mut header, mut data) = (Map::new(), Vec::new());
        header.insert("__metadata__".into(), json!(self.metadata));
        for (name, tensor) in order {
            let (dtype, bytes) = bytes_of(tensor)?;
            let from = data.len();
            data.extend_from_slice(&bytes);
            let entry = json!({ "dtype": dtype, "shape": tensor.dims(), "data_offsets": [from, data.len()] });
            header.insert(name.clone(), entry);
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        write_atomically(path, |file| {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            file.write_all(&data)
        })
        .map_err(|source| CheckpointError::Io {
            action: "write",
            path: path.into(),
            source,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is not there, or is no safetensors file with tensors of the types above.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        if path.exists() && !path.is_file() {
            return Err(CheckpointError::malformed(
                path,
                "it is no file; a run's network is its pruned.safetensors",
            ));
        }
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        Self::from_bytes(&bytes).map_err(|reason| CheckpointError::malformed(path, reason))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let unreadable = |e: safetensors::SafeTensorError| {
            format!("it is no whole safetensors file ({e}); copy it again or use another")
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = file
            .iter()
            .map(|(name, view)| {
                let tensor = tensor_of(view.dtype(), view.shape(), view.data())
                    .map_err(|reason| format!("tensor {name}: {reason}"))?;
                Ok((name.to_string(), tensor))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { metadata, tensors })
    }

    /// A piece of metadata that has to be there.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] if it is not; `path` is for the message.
    pub fn require(&self, key: &str, path: &Path) -> Result<&str, CheckpointError> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| {
            CheckpointError::malformed(
                path,
                format!("its metadata has no `{key}`; it was not written by taper"),
            )
        })
    }
}

fn bytes_of(tensor: &Tensor) -> Result<(&'static str, Vec<u8>), CheckpointError> {
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => {
            ("F32", flat.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        DType::F64 => {
            ("F64", flat.to_vec1::<f64>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        DType::I64 => {
            ("I64", flat.to_vec1::<i64>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        DType::U32 => {
            ("U32", flat.to_vec1::<u32>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        DType::U8 => ("U8", flat.to_vec1::<u8>()?),
        other => {
            let message = format!("checkpoints do not hold tensors of type {other:?}");
            return Err(candle_core::Error::Msg(message).into());
        }
    })
}

fn tensor_of(dtype: Dtype, shape: &[usize], data: &[u8]) -> Result<Tensor, String> {
    fn values<const N: usize, T>(data: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
        let whole = |chunk: &[u8]| chunk.try_into().expect("chunks of N bytes");
        data.chunks_exact(N).map(|chunk| from(whole(chunk))).collect()
    }
    let cpu = &Device::Cpu;
    let tensor = match dtype {
        Dtype::F32 => Tensor::from_vec(values(data, f32::from_le_bytes), shape, cpu),
        Dtype::F64 => Tensor::from_vec(values(data, f64::from_le_bytes), shape, cpu),
        Dtype::I64 => Tensor::from_vec(values(data, i64::from_le_bytes), shape, cpu),
        Dtype::U32 => Tensor::from_vec(values(data, u32::from_le_bytes), shape, cpu),
        Dtype::U8 => Tensor::from_vec(data.to_vec(), shape, cpu),
        other => return Err(format!("type {other:?} is not one of F32, F64, I64, U32 and U8")),
    };
    tensor.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TensorFile {
        let tensor = |values: Vec<f32>, shape: &[usize]| {
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let tensors = [
            ("b".to_string(), tensor(vec![1.0, -0.0, f32::NAN], &[3])),
            ("a".to_string(), Tensor::new(7i64, &Device::Cpu).unwrap()),
            ("c".to_string(), Tensor::new(&[1u8, 2, 3], &Device::Cpu).unwrap()),
            ("d".to_string(), Tensor::new(&[1u32, u32::MAX], &Device::Cpu).unwrap()),
            ("empty".to_string(), tensor(vec![], &[0, 4])),
        ];
        let metadata = [("k".to_string(), "v \"quoted\" ü".to_string())];
        TensorFile { metadata: metadata.into(), tensors: tensors.into() }
    }

    #[test]
    fn what_is_written_is_read_and_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        sample().save(&one).unwrap();
        let back = TensorFile::load(&one).unwrap();
        assert_eq!(back.metadata, sample().metadata);
        assert_eq!(back.tensors["a"].to_scalar::<i64>().unwrap(), 7);
        assert_eq!(back.tensors["b"].to_vec1::<f32>().unwrap()[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(back.tensors["empty"].dims(), [0, 4]);
        back.save(&two).unwrap();
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn every_truncation_and_many_corruptions_are_errors_or_readable_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        sample().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            assert!(TensorFile::from_bytes(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut corrupt = bytes.clone();
                corrupt[at] ^= flip;
                let _ = TensorFile::from_bytes(&corrupt);
            }
        }
        let mut huge = bytes;
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(TensorFile::from_bytes(&huge).is_err());
    }

    #[test]
    fn errors_name_the_file() {
        let missing =
            TensorFile::load(Path::new("/nowhere/x.safetensors")).unwrap_err().to_string();
        assert!(missing.contains("cannot read checkpoint /nowhere/x.safetensors"), "{missing}");
        let read_only = sample().save(Path::new("/nowhere/x.safetensors")).unwrap_err().to_string();
        assert!(read_only.contains("cannot write"), "{read_only}");
    }
}
