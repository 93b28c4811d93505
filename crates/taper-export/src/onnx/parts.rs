//! Constants and attributes in ONNX's format.

use taper_onnx::proto::{Attribute, FLOAT, INT64, TensorProto};

/// A tensor of raw bytes.
pub(super) fn raw(data_type: i32, dims: &[usize], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { dims: sizes(dims), data_type, raw_data, ..TensorProto::default() }
}

/// One number.
pub(super) fn scalar(value: f32) -> TensorProto {
    raw(FLOAT, &[], value.to_le_bytes().into())
}

/// A list of floats.
pub(super) fn floats(values: &[f32]) -> TensorProto {
    raw(FLOAT, &[values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A list of sizes.
pub(super) fn integers(values: &[usize]) -> TensorProto {
    let data = values.iter().flat_map(|&v| (v as i64).to_le_bytes()).collect();
    raw(INT64, &[values.len()], data)
}

/// Sizes in ONNX's type.
pub(super) fn sizes(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&size| size as i64).collect()
}

/// An attribute of one integer.
pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), kind: 2, ..Attribute::default() }
}

/// An attribute of one float.
pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(f), kind: 1, ..Attribute::default() }
}

/// An attribute of several integers.
pub(super) fn ints(name: &str, sizes: &[usize]) -> Attribute {
    let ints = sizes.iter().map(|&size| size as i64).collect();
    Attribute { name: name.into(), ints, kind: 7, ..Attribute::default() }
}
