//! Compressed sparse rows (CSR) in safetensors.
//!
//! A weight `W` is stored as `W.indptr` (index of the first value of each row), `W.indices` (column of each value) and
//! `W.values`. A row holds the weights of one output, so a 4-D weight `[out, in, k, k]` has `out` rows of `in·k·k`
//! columns. The metadata hold shapes and kinds under `csr`: `{"W": {"shape": [..], "kind": "conv"}}`.

use crate::{
    ExportError, Network,
    element::{self, ElementType},
    numbers::{self, Numbers},
    sparse::{Csr, rows_and_columns, shapes},
};
use safetensors::Dtype;
use taper_train::checkpoint::{RawFile, RawTensor};

/// Value of `kind` in the metadata.
const KIND: &str = "taper-csr-1";

/// Key of the shapes in the metadata.
pub(crate) const SHAPES: &str = "csr";

/// Whether this is the last part of the name of a packed tensor.
pub(crate) fn is_part(part: &str) -> bool {
    ["indptr", "indices", "values"].contains(&part)
}

/// Packs the weights of layers; other tensors are stored unchanged.
pub(crate) fn file(network: &Network, element: ElementType) -> Result<RawFile, ExportError> {
    let mut file = RawFile { metadata: network.metadata().clone(), ..RawFile::default() };
    let layers = network.layers();
    for stored in network.raw(element) {
        let (name, raw) = stored?;
        if !layers.contains_key(&name[..]) {
            file.tensors.insert(name.clone(), raw);
            continue;
        }
        let width = element::width(raw.dtype).unwrap_or(1);
        let csr = Csr::of(
            &raw.shape,
            &numbers::of(&raw).and_then(Numbers::floats).map_err(ExportError::Impossible)?,
        );
        let (_, columns) = rows_and_columns(&raw.shape);
        let (columns_dtype, columns_bytes): (_, Vec<u8>) = match u16::try_from(columns) {
            Ok(_) => {
                (Dtype::U16, csr.columns.iter().flat_map(|&c| (c as u16).to_le_bytes()).collect())
            }
            Err(_) => {
                (Dtype::U32, csr.columns.iter().flat_map(|&c| (c as u32).to_le_bytes()).collect())
            }
        };
        // Copies the bytes of the values, as encoding them again would round twice.
        let mut values = Vec::with_capacity(csr.values.len() * width);
        for row in 0..csr.starts.len() - 1 {
            for at in csr.starts[row] as usize..csr.starts[row + 1] as usize {
                let place = row * columns + csr.columns[at] as usize;
                values.extend_from_slice(&raw.data[place * width..][..width]);
            }
        }
        let n = csr.values.len();
        let starts: Vec<u8> = csr.starts.iter().flat_map(|&s| (s as u32).to_le_bytes()).collect();
        let mut put = |part: &str, dtype: Dtype, n: usize, data: Vec<u8>| {
            file.tensors
                .insert(format!("{name}.{part}"), RawTensor { dtype, shape: vec![n], data });
        };
        put("indptr", Dtype::U32, csr.starts.len(), starts);
        put("indices", columns_dtype, n, columns_bytes);
        put("values", raw.dtype, n, values);
    }
    file.metadata.insert("kind".into(), KIND.into());
    file.metadata.insert(SHAPES.into(), shapes(network));
    Ok(file)
}

/// Names of the packed weights.
pub(crate) fn names(file: &RawFile) -> Vec<&str> {
    file.tensors.keys().filter_map(|name| name.strip_suffix(".indptr")).collect()
}

/// A weight of this shape with its zeros.
pub(crate) fn weight(file: &RawFile, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let part = |part: &str| {
        let part = format!("{name}.{part}");
        let raw = file.tensors.get(&part).ok_or_else(|| format!("tensor {part} is missing"))?;
        Ok::<_, String>((part, raw))
    };
    let indices = |name: &str| {
        let (part, raw) = part(name)?;
        numbers::of(raw).and_then(Numbers::indices).map_err(|e| format!("tensor {part}: {e}"))
    };
    let (name_of_values, values) = part("values")?;
    let values = numbers::of(values).and_then(Numbers::floats);
    let csr = Csr {
        shape: shape.to_vec(),
        starts: indices("indptr")?,
        columns: indices("indices")?,
        values: values.map_err(|e| format!("tensor {name_of_values}: {e}"))?,
    };
    csr.dense().map_err(|e| format!("tensor {name}: {e}"))
}
