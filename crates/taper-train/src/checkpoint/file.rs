//! Safetensors files with sorted headers.
//!
//! The `safetensors` crate writes metadata in the order of a hash map, which differs between runs. This writer sorts
//! the header, so equal content results in equal bytes. The crate reads the files; it checks every offset against the
//! size of the file.

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use taper_record::write_atomically;

/// An error of reading or writing a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be read or written.
    #[error("cannot {action} checkpoint {}: {source}", path.display())]
    Io {
        /// The operation: `read`, `write` and so on.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The content of the file is invalid.
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

/// A tensor as bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Elements, little-endian, row-major.
    pub data: Vec<u8>,
}

/// A safetensors file with any element types, and metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawFile {
    /// Metadata as text.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, RawTensor>,
}

impl RawFile {
    /// Writes the file atomically: if writing fails, the old file remains.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        // Tensors with large elements come first, which keeps every tensor aligned, as the format requires.
        let mut order: Vec<(&String, &RawTensor)> = self.tensors.iter().collect();
        order.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.dtype.bitsize()), *name));
        let (mut header, mut from) = (Map::new(), 0);
        header.insert("__metadata__".into(), json!(self.metadata));
        for (name, tensor) in &order {
            let to = from + tensor.data.len();
            let entry =
                json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [from, to] });
            header.insert((*name).clone(), entry);
            from = to;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        write_atomically(path, |file| {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            order.iter().try_for_each(|(_, tensor)| file.write_all(&tensor.data))
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
    /// [`CheckpointError`] if the file is missing, or is not a safetensors file.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        if path.exists() && !path.is_file() {
            return Err(CheckpointError::malformed(
                path,
                "it is not a file; the network of a run is in its pruned.safetensors",
            ));
        }
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        Self::from_bytes(&bytes).map_err(|reason| CheckpointError::malformed(path, reason))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// The reason, if they are not a safetensors file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let unreadable = |e: safetensors::SafeTensorError| {
            match bytes {
            [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => {
                "it is a PyTorch file; import it first, which writes a checkpoint".into()
            }
            // An ONNX model starts with the field of its version. A safetensors header would start with `{` at byte 8.
            [0x08, ..] if bytes.get(8) != Some(&b'{') => {
                "it is an ONNX file; import it first, which writes a checkpoint, or use the checkpoint from which `taper shrink` made it"
                    .into()
            }
            _ => format!("it is not a complete safetensors file ({e}); copy it again or use another"),
        }
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let raw = |view: &safetensors::tensor::TensorView| RawTensor {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        };
        let tensors = file.iter().map(|(name, view)| (name.to_string(), raw(&view))).collect();
        Ok(Self { metadata, tensors })
    }
}

impl RawTensor {
    /// The bytes of a tensor of type f64, f32, f16, bf16, i64, u32 or u8.
    ///
    /// # Errors
    /// If the tensor has another type.
    pub fn of(tensor: &Tensor) -> Result<Self, CheckpointError> {
        let (dtype, data) = bytes_of(tensor)?;
        Ok(Self { dtype, shape: tensor.dims().to_vec(), data })
    }

    /// The tensor, on the CPU.
    ///
    /// # Errors
    /// The reason, if [`of`](Self::of) does not support its type.
    pub fn tensor(&self) -> Result<Tensor, String> {
        tensor_of(self.dtype, &self.shape, &self.data)
    }
}

/// A safetensors file as candle tensors, with metadata.
#[derive(Clone, Debug, Default)]
pub struct TensorFile {
    /// Metadata as text.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name: f64, f32, f16, bf16, i64, u32 or u8.
    pub tensors: BTreeMap<String, Tensor>,
}

impl TensorFile {
    /// Writes the file atomically: if writing fails, the old file remains.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let raw = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), RawTensor::of(tensor)?));
        let tensors = self.tensors.iter().map(raw).collect::<Result<_, CheckpointError>>()?;
        RawFile { metadata: self.metadata.clone(), tensors }.save(path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is missing, or is not a safetensors file with tensors of the types above.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let raw = RawFile::load(path)?;
        Self::of_raw(raw).map_err(|reason| CheckpointError::malformed(path, reason))
    }

    fn of_raw(raw: RawFile) -> Result<Self, String> {
        let tensor = |(name, raw): (String, RawTensor)| {
            let tensor = raw.tensor().map_err(|reason| format!("tensor {name}: {reason}"))?;
            Ok((name, tensor))
        };
        let tensors = raw.tensors.into_iter().map(tensor).collect::<Result<_, String>>()?;
        Ok(Self { metadata: raw.metadata, tensors })
    }

    /// A required value of the metadata. `path` is only used in error messages.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] if the key is missing.
    pub fn require(&self, key: &str, path: &Path) -> Result<&str, CheckpointError> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| {
            CheckpointError::malformed(
                path,
                format!("its metadata has no `{key}`, so Taper did not write it; import it first"),
            )
        })
    }
}

fn bytes_of(tensor: &Tensor) -> Result<(Dtype, Vec<u8>), CheckpointError> {
    fn bytes<const N: usize, T: WithDType>(
        flat: &Tensor,
        to: fn(T) -> [u8; N],
    ) -> candle_core::Result<Vec<u8>> {
        Ok(flat.to_vec1::<T>()?.into_iter().flat_map(to).collect())
    }
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F64 => (Dtype::F64, bytes(&flat, f64::to_le_bytes)?),
        DType::F32 => (Dtype::F32, bytes(&flat, f32::to_le_bytes)?),
        DType::F16 => (Dtype::F16, bytes(&flat, f16::to_le_bytes)?),
        DType::BF16 => (Dtype::BF16, bytes(&flat, bf16::to_le_bytes)?),
        DType::I64 => (Dtype::I64, bytes(&flat, i64::to_le_bytes)?),
        DType::U32 => (Dtype::U32, bytes(&flat, u32::to_le_bytes)?),
        DType::U8 => (Dtype::U8, flat.to_vec1::<u8>()?),
        other => {
            let message = format!(
                "a checkpoint cannot contain tensors of type {other:?}; convert them to F64, F32, F16, BF16, I64, U32 or U8"
            );
            return Err(candle_core::Error::Msg(message).into());
        }
    })
}

fn tensor_of(dtype: Dtype, shape: &[usize], data: &[u8]) -> Result<Tensor, String> {
    fn values<const N: usize, T>(data: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
        data.as_chunks::<N>().0.iter().map(|&chunk| from(chunk)).collect()
    }
    let cpu = &Device::Cpu;
    let tensor = match dtype {
        Dtype::F64 => Tensor::from_vec(values(data, f64::from_le_bytes), shape, cpu),
        Dtype::F32 => Tensor::from_vec(values(data, f32::from_le_bytes), shape, cpu),
        Dtype::F16 => Tensor::from_vec(values(data, f16::from_le_bytes), shape, cpu),
        Dtype::BF16 => Tensor::from_vec(values(data, bf16::from_le_bytes), shape, cpu),
        Dtype::I64 => Tensor::from_vec(values(data, i64::from_le_bytes), shape, cpu),
        Dtype::U32 => Tensor::from_vec(values(data, u32::from_le_bytes), shape, cpu),
        Dtype::U8 => Tensor::from_vec(data.to_vec(), shape, cpu),
        other => {
            return Err(format!(
                "type {other:?} is not one of F64, F32, F16, BF16, I64, U32, U8; import the file first"
            ));
        }
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
            ("e".to_string(), tensor(vec![1.5, -2.0], &[2]).to_dtype(DType::F16).unwrap()),
            ("f".to_string(), tensor(vec![1.5], &[1]).to_dtype(DType::BF16).unwrap()),
            ("empty".to_string(), tensor(vec![], &[0, 4])),
        ];
        let metadata = [("k".to_string(), "v \"quoted\" ü".to_string())];
        TensorFile { metadata: metadata.into(), tensors: tensors.into() }
    }

    fn read(bytes: &[u8]) -> Result<TensorFile, String> {
        TensorFile::of_raw(RawFile::from_bytes(bytes)?)
    }

    #[test]
    fn files_are_read_as_written_and_equal_content_has_equal_bytes() {
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
    fn truncated_and_corrupted_files_never_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        sample().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut corrupt = bytes.clone();
                corrupt[at] ^= flip;
                let _ = read(&corrupt);
            }
        }
        let mut huge = bytes;
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&huge).is_err());
    }

    #[test]
    fn errors_name_files_of_other_formats() {
        for (bytes, part) in [
            (&b"PK\x03\x04\0\0\0\0\0\0"[..], "a PyTorch file; import it first"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 ", "a PyTorch file; import it first"),
            (b"\x08\x08\x12\x05taper:", "an ONNX file; import it first"),
            // A truncated safetensors file.
            (b"\x08\0\0\0\0\0\0\0{\"a\"", "not a complete safetensors file"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
        }
        let other = tensor_of(Dtype::U16, &[1], &[0; 2]).unwrap_err();
        assert!(other.contains("U16") && other.contains("import the file first"), "{other}");
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
