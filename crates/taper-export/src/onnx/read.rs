//! The tensors of an ONNX file.

use super::{
    external::Beside,
    proto::{Model, SparseTensor, TensorProto},
    write::{BFLOAT16, FLOAT, FLOAT16, INT64},
};
use crate::{
    element::width,
    numbers::Numbers,
    source::{Source, missing},
};
use prost::Message;
use safetensors::Dtype;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// What a file holds: its initializers by name. The graph is not read.
#[derive(Debug)]
pub(crate) struct Tensors {
    metadata: BTreeMap<String, String>,
    dense: BTreeMap<String, TensorProto>,
    sparse: BTreeMap<String, SparseTensor>,
    beside: Option<Beside>,
}

impl Tensors {
    /// Reads the bytes of a file. What it keeps in other files is looked for beside it, if there is such a place.
    pub(crate) fn read(bytes: &[u8], beside: Option<Beside>) -> Result<Self, String> {
        let model = Model::decode(bytes).map_err(|e| format!("it is no ONNX file ({e})"))?;
        let graph = model.graph.ok_or("it is no ONNX file: it has no graph")?;
        if graph.initializer.is_empty() && graph.sparse_initializer.is_empty() {
            return Err(
                "it has no initializers; save weights as such, not as Constant nodes".into()
            );
        }
        let metadata = model.metadata_props.into_iter().map(|e| (e.key, e.value)).collect();
        let sparse = graph.sparse_initializer.into_iter().filter_map(|tensor| {
            let name = tensor.values.as_ref()?.name.clone();
            Some((name, tensor))
        });
        let dense = graph.initializer.into_iter().map(|tensor| (tensor.name.clone(), tensor));
        Ok(Self { metadata, dense: dense.collect(), sparse: sparse.collect(), beside })
    }

    /// The numbers of a tensor that has `n` of them.
    fn values(&self, tensor: &TensorProto, n: usize) -> Result<Numbers, String> {
        let (dtype, width) = dtype(tensor.data_type)?;
        if tensor.segment.is_some() {
            return Err("it is stored in pieces; save the model again".into());
        }
        let data = match (&self.beside, tensor.data_location) {
            (_, 0) => stored(tensor, dtype, width),
            (Some(beside), 1) => {
                beside.read(&tensor.external_data, n.saturating_mul(width))?.into()
            }
            _ => return Err("its data are in another file, which is not there".into()),
        };
        match data.len() / width == n && data.len().is_multiple_of(width) {
            true => Numbers::decode(dtype, &data),
            false => Err(format!("it has {} bytes, where {n} {dtype}s are needed", data.len())),
        }
    }

    fn scattered(&self, tensor: &SparseTensor, shape: &[usize]) -> Result<Vec<f32>, String> {
        let values = tensor.values.as_ref().ok_or("it has no values")?;
        let indices = tensor.indices.as_ref().ok_or("it has no indices")?;
        let (values_dims, indices_dims) = (sizes(&values.dims), sizes(&indices.dims));
        // Places in the flattened tensor, or coordinates.
        let (n, rank) = match (values_dims.as_deref(), indices_dims.as_deref()) {
            (Some(&[n]), Some(&[m])) if n == m => (n, 1),
            (Some(&[n]), Some(&[m, rank])) if n == m && rank == shape.len().max(1) => (n, rank),
            _ => {
                let (v, i) = (&values.dims, &indices.dims);
                return Err(format!("it has indices of shape {i:?} for values of shape {v:?}"));
            }
        };
        if indices.data_type != INT64 {
            return Err("its indices are not INT64".into());
        }
        let n_indices = n.checked_mul(rank).ok_or("it has too many indices")?;
        let indices = self.values(indices, n_indices)?.indices()?;
        let values = self.values(values, n)?.floats()?;
        let strides = match rank {
            1 => vec![1],
            _ => (0..rank).map(|axis| shape[axis + 1..].iter().product()).collect::<Vec<usize>>(),
        };
        let limits = if rank == 1 { vec![shape.iter().product()] } else { shape.to_vec() };
        let mut whole = vec![0.0; shape.iter().product()];
        let mut is_set = vec![false; whole.len()];
        for (coordinates, value) in indices.chunks(rank).zip(values) {
            let mut place = 0;
            for ((&at, &limit), &stride) in coordinates.iter().zip(&limits).zip(&strides) {
                if at >= limit as u64 {
                    return Err(format!("its index {at} is not below {limit}"));
                }
                place += at as usize * stride;
            }
            if std::mem::replace(&mut is_set[place], true) {
                return Err(format!("its index {coordinates:?} is there twice"));
            }
            whole[place] = value;
        }
        Ok(whole)
    }
}

impl Source for Tensors {
    fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.metadata)
    }

    fn names(&self) -> BTreeSet<String> {
        self.dense.keys().chain(self.sparse.keys()).cloned().collect()
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let dense = self.dense.get(name).map(|tensor| &tensor.dims);
        let dims = dense.or_else(|| self.sparse.get(name).map(|tensor| &tensor.dims));
        let sizes = |dims: &Vec<i64>| {
            sizes(dims)
                .ok_or_else(|| format!("tensor {name} has a negative size in its shape {dims:?}"))
        };
        dims.map(sizes).transpose()
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, String> {
        let values = match (self.dense.get(name), self.sparse.get(name)) {
            (Some(tensor), _) => self.values(tensor, shape.iter().product()),
            (None, Some(tensor)) => self.scattered(tensor, shape).map(Numbers::Floats),
            (None, None) => return Err(missing(name)),
        };
        values.map_err(|e| format!("tensor {name}: {e}"))
    }
}

/// Sizes, if none is negative.
fn sizes(dims: &[i64]) -> Option<Vec<usize>> {
    dims.iter().map(|&size| usize::try_from(size).ok()).collect()
}

/// The type of a number in `TensorProto.DataType`, and the bytes of an element.
fn dtype(number: i32) -> Result<(Dtype, usize), String> {
    let dtype = match number {
        FLOAT => Dtype::F32,
        2 => Dtype::U8,
        3 => Dtype::I8,
        4 => Dtype::U16,
        5 => Dtype::I16,
        6 => Dtype::I32,
        INT64 => Dtype::I64,
        9 => Dtype::BOOL,
        FLOAT16 => Dtype::F16,
        11 => Dtype::F64,
        12 => Dtype::U32,
        13 => Dtype::U64,
        BFLOAT16 => Dtype::BF16,
        other => return Err(format!("its type is number {other} of ONNX; save it as FLOAT")),
    };
    Ok((dtype, width(dtype).unwrap_or(1)))
}

/// The data of a tensor in the file itself: raw, or in the list that its type has.
fn stored(tensor: &TensorProto, dtype: Dtype, width: usize) -> Cow<'_, [u8]> {
    if !tensor.raw_data.is_empty() {
        return (&tensor.raw_data[..]).into();
    }
    let bytes: Vec<u8> = match dtype {
        Dtype::F32 => tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F64 => tensor.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::I64 => tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::U32 | Dtype::U64 => tensor
            .uint64_data
            .iter()
            .flat_map(|v| v.to_le_bytes().into_iter().take(width))
            .collect(),
        _ => {
            tensor.int32_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect()
        }
    };
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::{super::proto::Graph, *};

    const F64: i32 = 11;

    /// A file of one tensor, read for its shape.
    fn read(dense: Option<TensorProto>, sparse: Option<SparseTensor>) -> Result<Vec<f32>, String> {
        let (initializer, sparse_initializer) =
            (dense.into_iter().collect(), sparse.into_iter().collect());
        let graph = Graph { initializer, sparse_initializer, ..Graph::default() };
        let bytes = Model { graph: Some(graph), ..Model::default() }.encode_to_vec();
        let tensors = Tensors::read(&bytes, None)?;
        match tensors.shape("w")? {
            Some(shape) => tensors.numbers("w", &shape)?.floats(),
            None => Err("it is not there".into()),
        }
    }

    fn tensor(data_type: i32) -> TensorProto {
        TensorProto { dims: vec![2, 2], data_type, name: "w".into(), ..TensorProto::default() }
    }

    const WANT: [f32; 4] = [1.0, -2.0, 0.0, 0.5];

    #[test]
    fn every_type_of_floats_is_read_raw_or_listed() {
        let raw = |bytes: Vec<u8>| move |t: TensorProto| TensorProto { raw_data: bytes, ..t };
        let f16 = [0x3c00, 0xc000, 0, 0x3800];
        let bf16 = [0x3f80, 0xc000, 0, 0x3f00];
        let bytes = |bits: [i32; 4]| bits.iter().flat_map(|&b| (b as u16).to_le_bytes()).collect();
        let f64s = WANT.map(f64::from);
        for tensor in [
            TensorProto { float_data: WANT.to_vec(), ..tensor(FLOAT) },
            TensorProto { double_data: f64s.to_vec(), ..tensor(F64) },
            TensorProto { int32_data: f16.to_vec(), ..tensor(FLOAT16) },
            TensorProto { int32_data: bf16.to_vec(), ..tensor(BFLOAT16) },
            raw(WANT.iter().flat_map(|v| v.to_le_bytes()).collect())(tensor(FLOAT)),
            raw(f64s.iter().flat_map(|v| v.to_le_bytes()).collect())(tensor(F64)),
            raw(bytes(f16))(tensor(FLOAT16)),
            raw(bytes(bf16))(tensor(BFLOAT16)),
        ] {
            assert_eq!(read(Some(tensor.clone()), None), Ok(WANT.to_vec()), "{tensor:?}");
        }
    }

    #[test]
    fn what_is_not_read_says_what_it_is() {
        let bad = |tensor: TensorProto| read(Some(tensor), None).unwrap_err();
        let codes = TensorProto { int32_data: vec![1, -2, 0, 3], ..tensor(3) };
        assert!(bad(codes).contains("its numbers are I8, not floats"));
        assert!(bad(tensor(17)).contains("number 17 of ONNX"));
        assert!(bad(tensor(FLOAT)).contains("0 bytes, where 4 F32s"));
        let short = TensorProto { raw_data: vec![0; 15], ..tensor(FLOAT) };
        assert!(bad(short).contains("15 bytes"));
        let pieces = TensorProto { segment: Some(vec![]), ..tensor(FLOAT) };
        assert!(bad(pieces).contains("in pieces"));
        let external = TensorProto { data_location: 1, ..tensor(FLOAT) };
        assert!(bad(external).contains("in another file"));
        let negative = TensorProto { dims: vec![-2, -2], ..tensor(FLOAT) };
        assert!(bad(negative).contains("negative size in its shape [-2, -2]"));
    }

    #[test]
    fn a_graph_without_initializers_is_named() {
        assert!(read(None, None).unwrap_err().contains("Constant nodes"));
    }

    #[test]
    fn sparse_tensors_have_places_or_coordinates_in_any_order() {
        let sparse = |dims: &[i64], indices: &[i64]| {
            let values =
                TensorProto { dims: vec![3], float_data: vec![0.5, 1.0, -2.0], ..tensor(FLOAT) };
            let indices =
                TensorProto { dims: dims.to_vec(), int64_data: indices.to_vec(), ..tensor(INT64) };
            let tensor =
                SparseTensor { values: Some(values), indices: Some(indices), dims: vec![2, 2] };
            read(None, Some(tensor))
        };
        assert_eq!(sparse(&[3], &[3, 0, 1]), Ok(WANT.to_vec()));
        assert_eq!(sparse(&[3, 2], &[1, 1, 0, 0, 0, 1]), Ok(WANT.to_vec()));
        for (dims, indices, part) in [
            (&[3][..], &[3, 0, 4][..], "index 4 is not below 4"),
            (&[3], &[3, 0, -1], "-1"),
            (&[3], &[3, 0, 3], "[3] is there twice"),
            (&[3, 2], &[1, 1, 0, 0, 0, 2], "index 2 is not below 2"),
            (&[3], &[3, 0], "16 bytes, where 3"),
            (&[2], &[3, 0], "indices of shape [2]"),
            (&[3, 3], &[0; 9], "indices of shape [3, 3]"),
            (&[3, 0], &[], "indices of shape [3, 0]"),
        ] {
            let error = sparse(dims, indices).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
