//! Element types of stored floats.

use crate::ExportError;
use half::{bf16, f16};
use safetensors::Dtype;
use std::{fmt, str::FromStr};
use taper_graph::Tensor;
use taper_train::checkpoint::RawTensor;

/// Element type of the stored floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ElementType {
    /// 32 bits, as networks are trained.
    #[default]
    F32,
    /// 16 bits, with 11 significant bits; at most 65,504.
    F16,
    /// 16 bits, with 8 significant bits and the range of f32.
    Bf16,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for ElementType {
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

impl ElementType {
    /// The bytes of a tensor, rounded to this type.
    ///
    /// # Errors
    /// If a finite value overflows.
    pub(crate) fn raw(self, name: &str, tensor: &Tensor) -> Result<RawTensor, ExportError> {
        let values = tensor.values();
        let is_held = |v: f32| match self {
            Self::F32 => true,
            Self::F16 => f16::from_f32(v).is_finite(),
            Self::Bf16 => bf16::from_f32(v).is_finite(),
        };
        if let Some(value) = values.iter().find(|v| v.is_finite() && !is_held(**v)) {
            return Err(ExportError::Impossible(format!(
                "{name} holds {value}, which overflows {self}; choose bf16 or f32"
            )));
        }
        let (dtype, data) = match self {
            Self::F32 => (Dtype::F32, write(values, f32::to_le_bytes)),
            Self::F16 => (Dtype::F16, write(values, |v| f16::from_f32(v).to_le_bytes())),
            Self::Bf16 => (Dtype::BF16, write(values, |v| bf16::from_f32(v).to_le_bytes())),
        };
        Ok(RawTensor { dtype, shape: tensor.dims().to_vec(), data })
    }
}

/// The values as bytes, `N` for each.
fn write<const N: usize>(values: &[f32], to: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| to(value)).collect()
}

/// Bytes of an element, if it takes whole bytes.
pub(crate) fn width(dtype: Dtype) -> Option<usize> {
    dtype.bitsize().is_multiple_of(8).then(|| dtype.bitsize() / 8)
}
