//! The tensors of a file by name: dense or sparse, in the file or in another file.

use crate::{
    OnnxError,
    external::Beside,
    numbers::{DataType, Numbers},
    proto::{self, ModelProto, SparseTensor, TensorProto},
    stored::Stored,
    stream::Stream,
};
use prost::{Message, bytes::Buf};
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

/// The initializers of a file. They are decoded on request.
#[derive(Debug)]
pub struct Tensors {
    dense: BTreeMap<String, TensorProto>,
    sparse: BTreeMap<String, SparseTensor>,
    beside: Option<Beside>,
}

impl Tensors {
    /// Reads the metadata and the tensors of a file. Its graph may be unsupported. Data in other files are read from
    /// the folder of `file`, the path of the bytes.
    ///
    /// # Errors
    /// If the bytes are not an ONNX file, or have no initializers.
    pub fn read(
        bytes: &[u8],
        file: Option<&Path>,
    ) -> Result<(BTreeMap<String, String>, Self), OnnxError> {
        let model = decode(bytes).map_err(OnnxError::new)?;
        let graph = model.graph.unwrap_or_default();
        if graph.initializer.is_empty() && graph.sparse_initializer.is_empty() {
            let message =
                "it has no initializers; save weights as initializers, not as Constant nodes";
            return Err(OnnxError::new(message.into()));
        }
        let tensors = Self::of(graph.initializer, graph.sparse_initializer, file);
        Ok((metadata(model.metadata_props), tensors))
    }

    /// These tensors. If several have the same name, the last is used.
    pub(crate) fn of(
        dense: Vec<TensorProto>,
        sparse: Vec<SparseTensor>,
        file: Option<&Path>,
    ) -> Self {
        let sparse = sparse.into_iter().filter_map(|tensor| {
            let name = tensor.values.as_ref()?.name.clone();
            Some((name, tensor))
        });
        let dense = dense.into_iter().map(|tensor| (tensor.name.clone(), tensor));
        Self { dense: dense.collect(), sparse: sparse.collect(), beside: file.map(Beside::of) }
    }

    /// Names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.dense.keys().chain(self.sparse.keys()).map(String::as_str)
    }

    /// Shape of a tensor, if the file has it.
    ///
    /// # Errors
    /// If a size is negative, or the number of elements overflows.
    pub fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, OnnxError> {
        let dims = self.find(name).map(Stored::dims).transpose();
        dims.map_err(|e| OnnxError::new(format!("tensor {name}: {e}")))
    }

    /// The values of a tensor, zeros included. `shape` must be the result of [`shape`](Self::shape). Check its size
    /// first: a sparse tensor can claim any shape in a few bytes.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<Numbers, OnnxError> {
        let stored =
            self.find(name).ok_or_else(|| OnnxError::new(format!("tensor {name} is missing")))?;
        let numbers = stored.numbers(shape, self.beside(), None);
        numbers.map_err(|e| OnnxError::new(format!("tensor {name}: {e}")))
    }

    /// A tensor in its stored form.
    pub(crate) fn find(&self, name: &str) -> Option<Stored<'_>> {
        let sparse = || self.sparse.get(name).map(Stored::Sparse);
        self.dense.get(name).map(Stored::Dense).or_else(sparse)
    }

    /// Removes a tensor that is not needed any more.
    pub(crate) fn drop(&mut self, name: &str) {
        self.dense.remove(name);
        self.sparse.remove(name);
    }

    /// Folder of the data in other files.
    pub(crate) fn beside(&self) -> Option<&Beside> {
        self.beside.as_ref()
    }

    /// Checks that all tensors together read at most twice the size of another file. Without this check, overlapping
    /// parts could allocate any amount of memory.
    pub(crate) fn check_external(&self) -> Result<(), String> {
        let Some(beside) = &self.beside else { return Ok(()) };
        let sparse =
            self.sparse.values().flat_map(|tensor| tensor.values.iter().chain(&tensor.indices));
        let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
        for tensor in self.dense.values().chain(sparse).filter(|t| t.data_location == 1) {
            let Some(location) = tensor.external_data.iter().find(|e| e.key == "location") else {
                continue;
            };
            let n = Stored::Dense(tensor).dims().unwrap_or_default().iter().product::<usize>();
            let width = DataType::of(tensor.data_type).map_or(0, DataType::width);
            let sum = taken.entry(&location.value).or_default();
            *sum = sum.saturating_add(n.saturating_mul(width) as u64);
        }
        for (location, bytes) in taken {
            let size = beside.size(location)?;
            if bytes / 2 > size {
                return Err(format!(
                    "its tensors read {bytes} bytes of {location}, which has only {size} bytes; copy that file again"
                ));
            }
        }
        Ok(())
    }
}

/// Most bytes of a protobuf message.
const MOST_BYTES: usize = i32::MAX as usize;

/// Decodes the file at a path.
pub(crate) fn decode_file(path: &Path) -> Result<ModelProto, String> {
    let text = |e: &std::io::Error| e.to_string();
    let mut file = File::open(path).map_err(|e| text(&e))?;
    let Some(mut stream) = Stream::of(&file).map_err(|e| text(&e))? else {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| text(&e))?;
        return decode(&bytes[..]);
    };
    let len = stream.remaining();
    if len > MOST_BYTES {
        return Err(format!(
            "it has {len} bytes, but an ONNX file has at most {MOST_BYTES}; save its weights in another file"
        ));
    }
    let model = decode(&mut stream);
    stream.failed().map_or(model, |e| Err(text(e)))
}

/// Decodes a file, which must have a graph.
pub(crate) fn decode(bytes: impl Buf) -> Result<ModelProto, String> {
    let model = ModelProto::decode(bytes).map_err(|e| format!("it is not an ONNX file ({e})"))?;
    match model.graph {
        Some(_) => Ok(model),
        None => Err("it is not an ONNX file: it has no graph".into()),
    }
}

/// Texts by key.
pub(crate) fn metadata(entries: Vec<proto::StringStringEntryProto>) -> BTreeMap<String, String> {
    entries.into_iter().map(|e| (e.key, e.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{BFLOAT16, FLOAT, FLOAT16, GraphProto, INT64, StringStringEntryProto};

    const F64: i32 = 11;

    /// The values of the tensor in a file of one tensor.
    fn read(dense: Option<TensorProto>, sparse: Option<SparseTensor>) -> Result<Vec<f32>, String> {
        let (initializer, sparse_initializer) =
            (dense.into_iter().collect(), sparse.into_iter().collect());
        let graph = GraphProto { initializer, sparse_initializer, ..GraphProto::default() };
        let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
        let (_, tensors) = Tensors::read(&bytes, None).map_err(|e| e.to_string())?;
        match tensors.shape("w").map_err(|e| e.to_string())? {
            Some(shape) => tensors.numbers("w", &shape).map_err(|e| e.to_string())?.floats(),
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
    fn messages_describe_unsupported_tensors() {
        let bad = |tensor: TensorProto| read(Some(tensor), None).unwrap_err();
        let codes = TensorProto { int32_data: vec![1, -2, 0, 3], ..tensor(3) };
        assert!(bad(codes).contains("its numbers are I8, not floats"));
        assert!(bad(tensor(17)).contains("ONNX data type 17"));
        assert!(bad(tensor(FLOAT)).contains("0 bytes, but 4 numbers of type F32"));
        let short = TensorProto { raw_data: vec![0; 15], ..tensor(FLOAT) };
        assert!(bad(short).contains("15 bytes"));
        let pieces = TensorProto { segment: Some(vec![]), ..tensor(FLOAT) };
        assert!(bad(pieces).contains("in segments"));
        let external = TensorProto { data_location: 1, ..tensor(FLOAT) };
        assert!(bad(external).contains("in another file"));
        let negative = TensorProto { dims: vec![-2, -2], ..tensor(FLOAT) };
        assert!(bad(negative).contains("negative size in its shape [-2, -2]"));
        let huge = TensorProto { dims: vec![1 << 40; 2], ..tensor(FLOAT) };
        assert!(bad(huge).contains("too large"));
    }

    #[test]
    fn a_graph_without_initializers_is_rejected() {
        assert!(read(None, None).unwrap_err().contains("Constant nodes"));
    }

    #[test]
    fn sparse_tensors_have_indices_or_coordinates_in_any_order() {
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
            (&[3], &[3, 0, 3], "[3] occurs twice"),
            (&[3, 2], &[1, 1, 0, 0, 0, 2], "index 2 is not below 2"),
            (&[3], &[3, 0], "16 bytes, but 3"),
            (&[2], &[3, 0], "indices of shape [2]"),
            (&[3, 3], &[0; 9], "indices of shape [3, 3]"),
            (&[3, 0], &[], "indices of shape [3, 0]"),
        ] {
            let error = sparse(dims, indices).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_file_is_decoded_like_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.onnx");
        let raw = (0..1 << 17).map(|i| (i % 251) as u8).collect();
        let initializer = vec![TensorProto { raw_data: raw, ..tensor(FLOAT) }];
        let graph = GraphProto { initializer, ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ir_version: 8, ..ModelProto::default() };
        let bytes = model.encode_to_vec();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(decode_file(&path), Ok(model));
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(decode_file(&path).unwrap_err().contains("it is not an ONNX file"));
        // Only its length is checked.
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = decode_file(&path).unwrap_err();
        assert!(
            error.contains("1099511627776 bytes") && error.contains("in another file"),
            "{error}"
        );
    }

    #[test]
    fn overlapping_parts_of_another_file_may_read_twice_its_size() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.data"), [0; 16]).unwrap();
        let external = |i: usize| TensorProto {
            name: format!("w{i}"),
            data_location: 1,
            external_data: vec![StringStringEntryProto {
                key: "location".into(),
                value: "w.data".into(),
            }],
            ..tensor(FLOAT)
        };
        let check = |n: usize| {
            let file = folder.path().join("a.onnx");
            Tensors::of((0..n).map(external).collect(), Vec::new(), Some(&file)).check_external()
        };
        assert_eq!(check(2), Ok(()));
        assert!(check(3).unwrap_err().contains("read 48 bytes of w.data, which has only 16"));
    }
}
