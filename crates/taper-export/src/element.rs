//! Types of the numbers in a file.

use crate::ExportError;
use candle_core::{DType, Tensor};
use safetensors::Dtype;
use std::{fmt, str::FromStr};

/// Type of the numbers in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Element {
    /// 32 bits, as networks are trained.
    #[default]
    F32,
    /// 16 bits, 11 of them for digits; at most 65,504.
    F16,
    /// 16 bits, 8 of them for digits, with the range of f32.
    Bf16,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Element {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("unknown type `{name}`; the types are f32, f16 and bf16")),
        }
    }
}

impl Element {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// A tensor with its numbers rounded to this type; counters stay as they are.
    ///
    /// # Errors
    /// If a finite number becomes infinite.
    pub(crate) fn round(self, name: &str, tensor: &Tensor) -> Result<Tensor, ExportError> {
        if self == Self::F32 || tensor.dtype() != DType::F32 {
            return Ok(tensor.clone());
        }
        let rounded = tensor.to_dtype(self.dtype())?;
        let before = tensor.flatten_all()?.to_vec1::<f32>()?;
        let after = rounded.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        match before.iter().zip(&after).find(|(b, a)| b.is_finite() && !a.is_finite()) {
            Some((value, _)) => Err(ExportError::Impossible(format!(
                "{name} holds {value}, which {self} cannot; choose bf16 or f32"
            ))),
            None => Ok(rounded),
        }
    }
}

/// Bytes of an element of a raw tensor, if it has whole bytes.
pub(crate) fn width(dtype: Dtype) -> Option<usize> {
    dtype.bitsize().is_multiple_of(8).then(|| dtype.bitsize() / 8)
}

/// Numbers of `N` bytes each; what is left over at the end is no number.
pub(crate) fn read<const N: usize, T>(data: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|&bytes| of(bytes)).collect()
}
