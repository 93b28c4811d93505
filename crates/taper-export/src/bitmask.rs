//! The `sparse-bitmask` format of compressed-tensors: one bit for each weight, and the non-zero values.
//!
//! For a module `M` with a weight, `M.shape` holds the shape, and `M.compressed` the non-zero values in order.
//! `M.bitmask` holds one bit for each element: rows are padded to whole bytes, and the first column is the lowest bit.
//! A row is the last dimension, so a 3×3 kernel takes one byte for three weights. In compact files, a row holds all
//! weights of one output, and the reader must reshape the weight.

use crate::{
    ExportError, Network,
    element::{self, ElementType},
    numbers::{self, Numbers},
};
use safetensors::Dtype;
use std::collections::BTreeMap;
use taper_train::checkpoint::{RawFile, RawTensor};

/// Value of `kind` in the metadata.
const KIND: &str = "taper-bitmask-1";

const PARTS: [&str; 4] = ["shape", "bitmask", "compressed", "row_offsets"];

/// Whether this is the last part of the name of a packed tensor.
pub(crate) fn is_part(part: &str) -> bool {
    PARTS.contains(&part)
}

/// Packs the weights of layers; other tensors are stored unchanged.
pub(crate) fn file(
    network: &Network,
    element: ElementType,
    compact: bool,
) -> Result<RawFile, ExportError> {
    let mut file = RawFile { metadata: network.metadata().clone(), ..RawFile::default() };
    file.metadata.insert("kind".into(), KIND.into());
    let layers = network.layers();
    for stored in network.raw(element) {
        let (name, raw) = stored?;
        let module = name.strip_suffix(".weight").filter(|_| layers.contains_key(&name[..]));
        let Some(module) = module else {
            if let Some((_, part)) = name.rsplit_once('.').filter(|(_, p)| is_part(p)) {
                return Err(ExportError::Impossible(format!(
                    "the bitmask format reserves names that end in .{part}; rename tensor {name}"
                )));
            }
            file.tensors.insert(name.clone(), raw);
            continue;
        };
        let mut shape = raw.shape.clone();
        if compact && shape.len() > 2 {
            let (rows, columns) = crate::sparse::rows_and_columns(&shape);
            shape = vec![rows, columns];
        }
        let values =
            numbers::of(&raw).and_then(Numbers::floats).map_err(ExportError::Impossible)?;
        let width = element::width(raw.dtype).unwrap_or(1);
        let (mut bits, mut kept) = (Vec::new(), Vec::new());
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let rows = values.chunks(columns).zip(raw.data.chunks(columns * width));
        for (row, bytes) in rows {
            let mut packed = vec![0u8; row.len().div_ceil(8)];
            for (column, _) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                packed[column / 8] |= 1 << (column % 8);
                kept.extend_from_slice(&bytes[column * width..][..width]);
            }
            bits.extend(packed);
        }
        let sizes: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let mut bit_shape = shape.clone();
        if let Some(last) = bit_shape.last_mut() {
            *last = last.div_ceil(8);
        }
        let mut put = |part: &str, dtype: Dtype, shape: Vec<usize>, data: Vec<u8>| {
            file.tensors.insert(format!("{module}.{part}"), RawTensor { dtype, shape, data });
        };
        let size_bytes = sizes.iter().flat_map(|s| s.to_le_bytes()).collect();
        put("shape", Dtype::I64, vec![sizes.len()], size_bytes);
        put("compressed", raw.dtype, vec![kept.len() / width], kept);
        put("bitmask", Dtype::U8, bit_shape, bits);
        put("row_offsets", Dtype::I64, vec![0], Vec::new());
    }
    Ok(file)
}

/// Modules of a file with a packed weight.
pub(crate) fn modules(file: &RawFile) -> Vec<&str> {
    file.tensors.keys().filter_map(|name| name.strip_suffix(".bitmask")).collect()
}

/// The weight of a module with its zeros, stored in this shape or compact.
pub(crate) fn weight(
    tensors: &BTreeMap<String, RawTensor>,
    module: &str,
    expected: &[usize],
) -> Result<Vec<f32>, String> {
    let part = |part: &str| {
        let name = format!("{module}.{part}");
        tensors.get(&name).ok_or_else(|| format!("tensor {name} is missing"))
    };
    let named = |part: &str, e: String| format!("tensor {module}.{part}: {e}");
    let shape = numbers::of(part("shape")?).and_then(Numbers::indices);
    let shape = shape.map_err(|e| named("shape", e))?;
    let (rows, columns) = crate::sparse::rows_and_columns(expected);
    let is = |dims: &[usize]| shape.iter().copied().eq(dims.iter().map(|&d| d as u64));
    if !is(expected) && !is(&[rows, columns]) {
        return Err(format!("{module}.shape is {shape:?}, but the network needs {expected:?}"));
    }
    let n_elements = rows * columns;
    let bitmask = part("bitmask")?;
    let values = numbers::of(part("compressed")?).and_then(Numbers::floats);
    let values = values.map_err(|e| named("compressed", e))?;
    let columns = shape.last().copied().unwrap_or(1) as usize;
    let row_bytes = columns.div_ceil(8);
    let rows = n_elements.checked_div(columns).unwrap_or(0);
    if bitmask.dtype != Dtype::U8 || bitmask.data.len() != rows * row_bytes {
        let (dtype, found) = (bitmask.dtype, bitmask.data.len());
        return Err(format!(
            "{module}.bitmask has {found} bytes of type {dtype}, but {} of type U8 are needed",
            rows * row_bytes
        ));
    }
    let n_set: u32 = bitmask.data.iter().map(|byte| byte.count_ones()).sum();
    if n_set as usize != values.len() {
        return Err(format!(
            "{module}.bitmask marks {n_set} weights, but {module}.compressed has {}",
            values.len()
        ));
    }
    let mut values = values.into_iter();
    let mut weight = vec![0.0; n_elements];
    for (row, bits) in weight.chunks_mut(columns.max(1)).zip(bitmask.data.chunks(row_bytes.max(1)))
    {
        for (column, weight) in row.iter_mut().enumerate() {
            if bits[column / 8] >> (column % 8) & 1 == 1 {
                *weight = values.next().unwrap_or_default();
            }
        }
    }
    match values.next() {
        Some(_) => Err(format!("{module}.bitmask marks weights after the end of a row")),
        None => Ok(weight),
    }
}
