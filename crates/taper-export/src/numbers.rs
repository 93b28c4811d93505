//! The numbers of a tensor of a file, whatever their type.

use crate::element::{read, width};
use half::{bf16, f16};
use safetensors::Dtype;
use taper_train::checkpoint::RawTensor;

/// Numbers of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    /// Floats of any type, as f32.
    Floats(Vec<f32>),
    /// Integers and booleans: counters, masks, indices, or codes of a quantized weight.
    Whole { dtype: Dtype, values: Vec<i64> },
}

impl Numbers {
    /// Those of a raw tensor.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub(crate) fn of(raw: &RawTensor) -> Result<Self, String> {
        Self::decode(raw.dtype, &raw.data)
    }

    /// Those of little-endian bytes.
    ///
    /// # Errors
    /// If the type is not read, the last number is cut off, or one does not fit f32 or i64.
    pub(crate) fn decode(dtype: Dtype, data: &[u8]) -> Result<Self, String> {
        if width(dtype).is_some_and(|width| !data.len().is_multiple_of(width)) {
            return Err(format!("it has {} bytes, which are no whole {dtype}s", data.len()));
        }
        let values = match dtype {
            Dtype::F32 => return Ok(Self::Floats(read(data, f32::from_le_bytes))),
            Dtype::F16 => {
                return Ok(Self::Floats(read(data, |b| f16::from_le_bytes(b).to_f32())));
            }
            Dtype::BF16 => {
                return Ok(Self::Floats(read(data, |b| bf16::from_le_bytes(b).to_f32())));
            }
            Dtype::F64 => {
                let values = read(data, |b| narrow(f64::from_le_bytes(b)));
                return values.into_iter().collect::<Result<_, _>>().map(Self::Floats);
            }
            Dtype::BOOL => read(data, |[b]: [u8; 1]| i64::from(b != 0)),
            Dtype::U8 => read(data, |[b]: [u8; 1]| i64::from(b)),
            Dtype::I8 => read(data, |b| i64::from(i8::from_le_bytes(b))),
            Dtype::U16 => read(data, |b| i64::from(u16::from_le_bytes(b))),
            Dtype::I16 => read(data, |b| i64::from(i16::from_le_bytes(b))),
            Dtype::U32 => read(data, |b| i64::from(u32::from_le_bytes(b))),
            Dtype::I32 => read(data, |b| i64::from(i32::from_le_bytes(b))),
            Dtype::I64 => read(data, i64::from_le_bytes),
            Dtype::U64 => {
                let large = |v: u64| {
                    i64::try_from(v).map_err(|_| format!("it holds {v}, which i64 cannot"))
                };
                let values = read(data, |b| large(u64::from_le_bytes(b)));
                values.into_iter().collect::<Result<_, _>>()?
            }
            other => return Err(format!("its numbers are {other}; save them as F32")),
        };
        Ok(Self::Whole { dtype, values })
    }

    /// Numbers that must be floats.
    ///
    /// # Errors
    /// If they are not, which names their type.
    pub(crate) fn floats(self) -> Result<Vec<f32>, String> {
        match self {
            Self::Floats(values) => Ok(values),
            Self::Whole { dtype, .. } => Err(format!(
                "its numbers are {dtype}, not floats; save them as F32, and codes of a quantized weight times their scale"
            )),
        }
    }

    /// Numbers that must be whole and not negative.
    ///
    /// # Errors
    /// If one is not.
    pub(crate) fn indices(self) -> Result<Vec<u64>, String> {
        let Self::Whole { values, .. } = self else {
            return Err("its numbers are floats, not integers".into());
        };
        let index =
            |v: i64| u64::try_from(v).map_err(|_| format!("it holds {v}, a negative number"));
        values.into_iter().map(index).collect()
    }

    /// Numbers that must be whole, whatever their type: what counts or marks.
    ///
    /// # Errors
    /// If one is not.
    pub(crate) fn whole(self) -> Result<Vec<i64>, String> {
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

/// The nearest f32.
fn narrow(value: f64) -> Result<f32, String> {
    match (value as f32).is_finite() || !value.is_finite() {
        true => Ok(value as f32),
        false => Err(format!("it holds {value}, which f32 cannot")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_at_its_ends() {
        let whole = |dtype, data: &[u8]| Numbers::decode(dtype, data).unwrap().whole().unwrap();
        assert_eq!(whole(Dtype::BOOL, &[0, 1, 7]), [0, 1, 1]);
        assert_eq!(whole(Dtype::U8, &[0, 255]), [0, 255]);
        assert_eq!(whole(Dtype::I8, &[127, 128]), [127, -128]);
        assert_eq!(whole(Dtype::U16, &[255, 255]), [65_535]);
        assert_eq!(whole(Dtype::I16, &[255, 255]), [-1]);
        assert_eq!(whole(Dtype::U32, &[255; 4]), [i64::from(u32::MAX)]);
        assert_eq!(whole(Dtype::I32, &[255; 4]), [-1]);
        assert_eq!(whole(Dtype::I64, &[255; 8]), [-1]);
        assert_eq!(whole(Dtype::U64, &7u64.to_le_bytes()), [7]);
        let floats = |dtype, data: &[u8]| Numbers::decode(dtype, data).unwrap().floats().unwrap();
        assert_eq!(floats(Dtype::F32, &0.1f32.to_le_bytes()), [0.1]);
        assert_eq!(floats(Dtype::F16, &[0, 0xc0]), [-2.0]);
        assert_eq!(floats(Dtype::BF16, &[0x40, 0xc0]), [-3.0]);
        assert_eq!(floats(Dtype::F64, &0.1f64.to_le_bytes()), [0.1]);
        assert_eq!(floats(Dtype::F64, &f64::INFINITY.to_le_bytes()), [f32::INFINITY]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bad = |dtype, data: &[u8]| Numbers::decode(dtype, data).unwrap_err();
        assert!(bad(Dtype::F64, &1e39f64.to_le_bytes()).contains("f32 cannot"));
        assert!(bad(Dtype::U64, &[255; 8]).contains("i64 cannot"));
        assert!(bad(Dtype::F32, &[0; 7]).contains("7 bytes"));
        assert!(bad(Dtype::F8_E4M3, &[0]).contains("F8_E4M3; save"));
        let codes = Numbers::decode(Dtype::I8, &[255]).unwrap();
        assert!(codes.clone().floats().unwrap_err().contains("I8, not floats"));
        assert!(codes.indices().unwrap_err().contains("-1"));
        assert!(Numbers::Floats(vec![1.0]).indices().is_err());
        assert_eq!(Numbers::Floats(vec![3.0]).whole(), Ok(vec![3]));
        assert!(Numbers::Floats(vec![0.5]).whole().unwrap_err().contains("0.5"));
        assert!(Numbers::Floats(vec![f32::NAN]).whole().is_err());
    }
}
