//! Decodes the values of tensors with safetensors' element types.

use safetensors::Dtype;
use taper_onnx::DataType;
use taper_train::checkpoint::RawTensor;

pub(crate) use taper_onnx::Numbers;

/// The values of a raw tensor.
///
/// # Errors
/// As [`decode`].
pub(crate) fn of(raw: &RawTensor) -> Result<Numbers, String> {
    decode(raw.dtype, &raw.data)
}

/// The values of little-endian bytes.
///
/// # Errors
/// If the type is not supported, the last value is cut off, or a value does not fit f32 or i64.
pub(crate) fn decode(dtype: Dtype, data: &[u8]) -> Result<Numbers, String> {
    let dtype = match dtype {
        Dtype::F32 => DataType::F32,
        Dtype::F64 => DataType::F64,
        Dtype::F16 => DataType::F16,
        Dtype::BF16 => DataType::Bf16,
        Dtype::BOOL => DataType::Bool,
        Dtype::U8 => DataType::U8,
        Dtype::I8 => DataType::I8,
        Dtype::U16 => DataType::U16,
        Dtype::I16 => DataType::I16,
        Dtype::U32 => DataType::U32,
        Dtype::I32 => DataType::I32,
        Dtype::U64 => DataType::U64,
        Dtype::I64 => DataType::I64,
        other => return Err(format!("its numbers are {other}; save them as F32")),
    };
    Numbers::decode(dtype, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_their_names_and_unsupported_types_are_rejected() {
        let all = [
            Dtype::BOOL,
            Dtype::U8,
            Dtype::I8,
            Dtype::U16,
            Dtype::I16,
            Dtype::U32,
            Dtype::I32,
            Dtype::U64,
            Dtype::I64,
        ];
        for dtype in all {
            let numbers = decode(dtype, &[0; 8]).unwrap();
            let error = numbers.floats().unwrap_err();
            assert!(error.contains(&format!("are {dtype}, not floats")), "{error}");
        }
        for (dtype, bytes, want) in [
            (Dtype::F32, &0.1f32.to_le_bytes()[..], 0.1),
            (Dtype::F64, &0.1f64.to_le_bytes(), 0.1),
            (Dtype::F16, &[0, 0xc0], -2.0),
            (Dtype::BF16, &[0x40, 0xc0], -3.0),
        ] {
            assert_eq!(decode(dtype, bytes), Ok(Numbers::Floats(vec![want])));
        }
        assert!(decode(Dtype::F8_E4M3, &[0]).unwrap_err().contains("F8_E4M3; save"));
    }
}
