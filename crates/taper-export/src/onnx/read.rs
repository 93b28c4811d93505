//! The tensors of an ONNX file.

use super::{
    proto::{Model, SparseTensor, TensorProto},
    write::{BFLOAT16, FLOAT, FLOAT16, INT64},
};
use crate::element::read;
use half::{bf16, f16};
use prost::Message;
use std::collections::BTreeMap;

/// What a file holds: its initializers by name. The graph is not read.
#[derive(Debug)]
pub(crate) struct Tensors {
    pub(crate) metadata: BTreeMap<String, String>,
    dense: BTreeMap<String, TensorProto>,
    sparse: BTreeMap<String, SparseTensor>,
}

impl Tensors {
    /// Reads the bytes of a file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let model = Model::decode(bytes).map_err(|e| format!("it is no ONNX file ({e})"))?;
        let graph = model.graph.ok_or("it is no ONNX file: it has no graph")?;
        let metadata = model.metadata_props.into_iter().map(|e| (e.key, e.value)).collect();
        let sparse = graph.sparse_initializer.into_iter().filter_map(|tensor| {
            let name = tensor.values.as_ref()?.name.clone();
            Some((name, tensor))
        });
        let dense = graph.initializer.into_iter().map(|tensor| (tensor.name.clone(), tensor));
        Ok(Self { metadata, dense: dense.collect(), sparse: sparse.collect() })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.dense.keys().chain(self.sparse.keys()).map(String::as_str)
    }

    /// Number of elements of a dense tensor.
    pub(crate) fn len(&self, name: &str) -> Option<usize> {
        self.dense.get(name).and_then(|tensor| floats(tensor).ok()).map(|values| values.len())
    }

    /// The tensor of this name with so many elements.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let n: usize = shape.iter().product();
        if let Some(tensor) = self.dense.get(name) {
            let values = floats(tensor).map_err(|e| format!("tensor {name}: {e}"))?;
            return match values.len() == n && same(&tensor.dims, shape) {
                true => Ok(values),
                false => Err(format!(
                    "tensor {name} has shape {:?} and {} values where the model has {shape:?}",
                    tensor.dims,
                    values.len()
                )),
            };
        }
        let tensor = self.sparse.get(name).ok_or_else(|| format!("tensor {name} is missing"))?;
        if !same(&tensor.dims, shape) {
            let dims = &tensor.dims;
            return Err(format!("tensor {name} has shape {dims:?} where the model has {shape:?}"));
        }
        scattered(tensor, n).map_err(|e| format!("tensor {name}: {e}"))
    }
}

fn same(dims: &[i64], shape: &[usize]) -> bool {
    dims.len() == shape.len() && dims.iter().zip(shape).all(|(&d, &s)| usize::try_from(d) == Ok(s))
}

fn floats(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    let raw = &tensor.raw_data;
    Ok(match tensor.data_type {
        FLOAT if raw.is_empty() => tensor.float_data.clone(),
        FLOAT => read(raw, f32::from_le_bytes),
        FLOAT16 => read(raw, |b| f16::from_le_bytes(b).to_f32()),
        BFLOAT16 => read(raw, |b| bf16::from_le_bytes(b).to_f32()),
        other => return Err(format!("its type is number {other}, not a float")),
    })
}

fn scattered(tensor: &SparseTensor, n: usize) -> Result<Vec<f32>, String> {
    let values = floats(tensor.values.as_ref().ok_or("it has no values")?)?;
    let indices = tensor.indices.as_ref().ok_or("it has no indices")?;
    if indices.data_type != INT64 || indices.dims.len() != 1 {
        return Err("its indices are not places in the flattened tensor".into());
    }
    let indices: Vec<i64> = match indices.raw_data.is_empty() {
        true => indices.int64_data.clone(),
        false => read(&indices.raw_data, i64::from_le_bytes),
    };
    if indices.len() != values.len() {
        return Err(format!("it has {} indices for {} values", indices.len(), values.len()));
    }
    let mut whole = vec![0.0; n];
    for (&at, value) in indices.iter().zip(values) {
        let place = usize::try_from(at).ok().and_then(|at| whole.get_mut(at));
        *place.ok_or_else(|| format!("its index {at} is not below {n}"))? = value;
    }
    Ok(whole)
}
