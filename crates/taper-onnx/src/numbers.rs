//! Decodes the values of tensors of all types.

use crate::proto::{BFLOAT16, FLOAT, FLOAT16, INT64};
use std::fmt;

/// Type of the values of a tensor, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum DataType {
    F32,
    F64,
    F16,
    Bf16,
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

impl DataType {
    /// The type with this number in `TensorProto.DataType`.
    pub(crate) fn of(number: i32) -> Result<Self, String> {
        Ok(match number {
            FLOAT => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            INT64 => Self::I64,
            9 => Self::Bool,
            FLOAT16 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            BFLOAT16 => Self::Bf16,
            other => {
                return Err(format!(
                    "its ONNX data type {other} is not supported; save it as FLOAT"
                ));
            }
        })
    }

    /// Bytes of a value.
    pub fn width(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::F16 | Self::Bf16 | Self::U16 | Self::I16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F64 | Self::U64 | Self::I64 => 8,
        }
    }

    /// Whether it is a float of any precision.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{self:?}").to_uppercase())
    }
}

/// Values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Floats of any type, as f32.
    Floats(Vec<f32>),
    /// Integers and booleans: counters, masks, indices, shapes, or codes of a quantized weight.
    Whole {
        /// Their type in the file.
        dtype: DataType,
        /// Their values; booleans are 0 and 1.
        values: Vec<i64>,
    },
}

impl Numbers {
    /// Decodes little-endian bytes.
    ///
    /// # Errors
    /// If the last value is cut off, or a value does not fit f32 or i64.
    pub fn decode(dtype: DataType, data: &[u8]) -> Result<Self, String> {
        if !data.len().is_multiple_of(dtype.width()) {
            return Err(format!(
                "it has {} bytes, which is not a multiple of the size of {dtype}",
                data.len()
            ));
        }
        let values = match dtype {
            DataType::F32 => return Ok(Self::Floats(read(data, f32::from_le_bytes))),
            DataType::F16 => {
                return Ok(Self::Floats(read(data, |b| half(u16::from_le_bytes(b)))));
            }
            DataType::Bf16 => {
                let wide = |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
                return Ok(Self::Floats(read(data, wide)));
            }
            DataType::F64 => {
                let values = read(data, |b| narrow(f64::from_le_bytes(b)));
                return values.into_iter().collect::<Result<_, _>>().map(Self::Floats);
            }
            DataType::Bool => read(data, |[b]: [u8; 1]| i64::from(b != 0)),
            DataType::U8 => read(data, |[b]: [u8; 1]| i64::from(b)),
            DataType::I8 => read(data, |b| i64::from(i8::from_le_bytes(b))),
            DataType::U16 => read(data, |b| i64::from(u16::from_le_bytes(b))),
            DataType::I16 => read(data, |b| i64::from(i16::from_le_bytes(b))),
            DataType::U32 => read(data, |b| i64::from(u32::from_le_bytes(b))),
            DataType::I32 => read(data, |b| i64::from(i32::from_le_bytes(b))),
            DataType::I64 => read(data, i64::from_le_bytes),
            DataType::U64 => {
                let large = |v: u64| {
                    i64::try_from(v).map_err(|_| format!("it holds {v}, which does not fit i64"))
                };
                let values = read(data, |b| large(u64::from_le_bytes(b)));
                values.into_iter().collect::<Result<_, _>>()?
            }
        };
        Ok(Self::Whole { dtype, values })
    }

    /// The values, which must be floats.
    ///
    /// # Errors
    /// If they are not. The message names their type.
    pub fn floats(self) -> Result<Vec<f32>, String> {
        match self {
            Self::Floats(values) => Ok(values),
            Self::Whole { dtype, .. } => Err(format!(
                "its numbers are {dtype}, not floats; save them as F32, and multiply quantized weights by their scale first"
            )),
        }
    }

    /// The values, which must be integers and not negative.
    ///
    /// # Errors
    /// If a value is not.
    pub fn indices(self) -> Result<Vec<u64>, String> {
        let Self::Whole { values, .. } = self else {
            return Err("its numbers are floats, not integers".into());
        };
        let index =
            |v: i64| u64::try_from(v).map_err(|_| format!("it holds the negative number {v}"));
        values.into_iter().map(index).collect()
    }

    /// The values, which must be whole numbers of any type, such as counters and masks.
    ///
    /// # Errors
    /// If a value is not.
    pub fn whole(self) -> Result<Vec<i64>, String> {
        let whole = |v: f32| match v == v.trunc() && v.abs() < -(i64::MIN as f32) {
            true => Ok(v as i64),
            false => Err(format!("it holds {v}, which is not a whole number")),
        };
        match self {
            Self::Whole { values, .. } => Ok(values),
            Self::Floats(values) => values.into_iter().map(whole).collect(),
        }
    }
}

/// Values of `N` bytes each.
fn read<const N: usize, T>(data: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|&bytes| of(bytes)).collect()
}

/// The f32 that equals the half-precision number of these bits.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        // A multiple of 2⁻²⁴.
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        0x1f => 0x7f80_0000 | fraction << 13,
        // The exponent biases are 15 and 127.
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// The nearest f32.
fn narrow(value: f64) -> Result<f32, String> {
    match (value as f32).is_finite() || !value.is_finite() {
        true => Ok(value as f32),
        false => Err(format!("it holds {value}, which does not fit f32")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_at_its_limits() {
        let whole = |dtype, data: &[u8]| Numbers::decode(dtype, data).unwrap().whole().unwrap();
        assert_eq!(whole(DataType::Bool, &[0, 1, 7]), [0, 1, 1]);
        assert_eq!(whole(DataType::U8, &[0, 255]), [0, 255]);
        assert_eq!(whole(DataType::I8, &[127, 128]), [127, -128]);
        assert_eq!(whole(DataType::U16, &[255, 255]), [65_535]);
        assert_eq!(whole(DataType::I16, &[255, 255]), [-1]);
        assert_eq!(whole(DataType::U32, &[255; 4]), [i64::from(u32::MAX)]);
        assert_eq!(whole(DataType::I32, &[255; 4]), [-1]);
        assert_eq!(whole(DataType::I64, &[255; 8]), [-1]);
        assert_eq!(whole(DataType::U64, &7u64.to_le_bytes()), [7]);
        let floats = |dtype, data: &[u8]| Numbers::decode(dtype, data).unwrap().floats().unwrap();
        assert_eq!(floats(DataType::F32, &0.1f32.to_le_bytes()), [0.1]);
        assert_eq!(floats(DataType::Bf16, &[0x40, 0xc0]), [-3.0]);
        assert_eq!(floats(DataType::F64, &0.1f64.to_le_bytes()), [0.1]);
        assert_eq!(floats(DataType::F64, &f64::INFINITY.to_le_bytes()), [f32::INFINITY]);
    }

    #[test]
    fn half_precision_is_exact_for_all_bits() {
        for bits in 0..=u16::MAX {
            let data = bits.to_le_bytes();
            let found = Numbers::decode(DataType::F16, &data).unwrap().floats().unwrap()[0];
            let want = half::f16::from_bits(bits).to_f32();
            let equal = found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan();
            assert!(equal, "{bits:#x}: {found} instead of {want}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_rejected() {
        let bad = |dtype, data: &[u8]| Numbers::decode(dtype, data).unwrap_err();
        assert!(bad(DataType::F64, &1e39f64.to_le_bytes()).contains("does not fit f32"));
        assert!(bad(DataType::U64, &[255; 8]).contains("does not fit i64"));
        assert!(bad(DataType::F32, &[0; 7]).contains("7 bytes"));
        let codes = Numbers::decode(DataType::I8, &[255]).unwrap();
        assert!(codes.clone().floats().unwrap_err().contains("I8, not floats"));
        assert!(codes.indices().unwrap_err().contains("-1"));
        assert!(Numbers::Floats(vec![1.0]).indices().is_err());
        assert_eq!(Numbers::Floats(vec![3.0]).whole(), Ok(vec![3]));
        assert!(Numbers::Floats(vec![0.5]).whole().unwrap_err().contains("0.5"));
        assert!(Numbers::Floats(vec![f32::NAN]).whole().is_err());
    }
}
