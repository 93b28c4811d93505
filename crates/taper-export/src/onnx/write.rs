//! A network as an ONNX graph.

use super::proto::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, SparseTensor, TensorProto,
    TensorType, Type, ValueInfo,
};
use crate::{ExportError, Network, Options, element::Element, network::Op, numbers::Numbers};
use candle_core::{DType, Tensor};
use prost::Message;
use taper_train::checkpoint::RawTensor;

/// Kind of the file in its metadata.
const KIND: &str = "taper-onnx-1";

/// Version of the operators, and of the format that goes with it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// Numbers of the types in `TensorProto.DataType`.
pub(super) const FLOAT: i32 = 1;
pub(super) const INT64: i32 = 7;
pub(super) const FLOAT16: i32 = 10;
pub(super) const BFLOAT16: i32 = 16;

/// The bytes of the file. The input is `images`, the output `logits`; the batch is open.
pub(crate) fn bytes(network: &Network, options: &Options) -> Result<Vec<u8>, ExportError> {
    if options.sparse_initializers && options.element != Element::F32 {
        let message =
            "sparse initializers are of f32 alone; leave out the other type or the sparseness";
        return Err(ExportError::Impossible(message.into()));
    }
    let mut writer = Writer { network, options, graph: Graph::default() };
    writer.graph.name = network.metadata.get("architecture").cloned().unwrap_or_default();
    writer.nodes()?;
    let value = |name: &str, dims: &[usize]| {
        let fixed = dims[1..]
            .iter()
            .map(|&size| Dimension { dim_value: Some(size as i64), dim_param: None });
        let batch = Dimension { dim_value: None, dim_param: Some("batch".into()) };
        let shape = Shape { dim: std::iter::once(batch).chain(fixed).collect() };
        let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(shape) });
        ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
    };
    let mut graph = writer.graph;
    graph.input.push(value("images", &network.nodes[0].dims));
    graph.output.push(value("logits", &network.nodes[network.output].dims));
    let entry = |(key, value): (&str, &str)| Entry { key: key.into(), value: value.into() };
    let metadata = network.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "taper".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: metadata.chain([("kind", KIND)]).map(entry).collect(),
    };
    Ok(model.encode_to_vec())
}

struct Writer<'a> {
    network: &'a Network,
    options: &'a Options,
    graph: Graph,
}

impl Writer<'_> {
    fn nodes(&mut self) -> Result<(), ExportError> {
        let network = self.network;
        for (i, node) in network.nodes.iter().enumerate() {
            let mut inputs: Vec<String> = node.inputs.iter().map(|&x| self.value(x)).collect();
            let mut more = Vec::new();
            let (op_type, attributes) = match &node.op {
                Op::Input => continue,
                Op::Conv { weight, bias, config } => {
                    more.push(weight);
                    more.extend(bias);
                    let two = |n: usize| vec![n as i64; 2];
                    let attributes = vec![
                        ints("dilations", two(config.dilation)),
                        int("group", config.groups as i64),
                        ints("kernel_shape", two(config.kernel)),
                        ints("pads", vec![config.padding as i64; 4]),
                        ints("strides", two(config.stride)),
                    ];
                    ("Conv", attributes)
                }
                Op::Linear { weight, bias } => {
                    more.push(weight);
                    more.extend(bias);
                    ("Gemm", vec![int("transB", 1)])
                }
                Op::Norm { weight, bias, mean, var, eps } => {
                    more.extend([weight, bias, mean, var]);
                    ("BatchNormalization", vec![float("epsilon", *eps as f32)])
                }
                Op::Relu => ("Relu", Vec::new()),
                Op::Add => ("Add", Vec::new()),
                Op::GlobalAverage => {
                    let mean = format!("mean{i}");
                    self.push("GlobalAveragePool", inputs, mean.clone(), Vec::new());
                    inputs = vec![mean];
                    ("Flatten", vec![int("axis", 1)])
                }
                Op::Average { size } => {
                    let size = vec![*size as i64; 2];
                    ("AveragePool", vec![ints("kernel_shape", size.clone()), ints("strides", size)])
                }
                Op::Maximum(windows) => {
                    let attributes = vec![
                        ints("kernel_shape", vec![windows.size as i64; 2]),
                        ints("pads", vec![windows.padding as i64; 4]),
                        ints("strides", vec![windows.stride as i64; 2]),
                    ];
                    ("MaxPool", attributes)
                }
                Op::Concat => ("Concat", vec![int("axis", 1)]),
            };
            for name in more {
                inputs.push(self.tensor(name)?);
            }
            self.push(op_type, inputs, self.value(i), attributes);
        }
        Ok(())
    }

    /// Name of the value of a node.
    fn value(&self, node: usize) -> String {
        match node {
            0 => "images".into(),
            _ if node == self.network.output => "logits".into(),
            _ => format!("value{node}"),
        }
    }

    fn push(
        &mut self,
        op_type: &str,
        input: Vec<String>,
        output: String,
        attribute: Vec<Attribute>,
    ) {
        let name = format!("{op_type}{}", self.graph.node.len());
        let op_type = op_type.into();
        self.graph.node.push(Node { input, output: vec![output], name, op_type, attribute });
    }

    /// Adds an initializer; gives the name that nodes read it by.
    fn tensor(&mut self, name: &str) -> Result<String, ExportError> {
        let tensor = &self.network.tensors[name];
        let is_there = self.graph.initializer.iter().any(|t| t.name == name)
            || self.graph.sparse_initializer.iter().flat_map(|s| &s.values).any(|t| t.name == name);
        if !is_there {
            if self.options.sparse_initializers && self.network.layers.contains_key(name) {
                self.graph.sparse_initializer.push(sparse(name, tensor)?);
            } else {
                let rounded = self.options.element.round(name, tensor)?;
                self.graph.initializer.push(dense(name, &rounded)?);
            }
        }
        if self.options.element == Element::F32 {
            return Ok(name.into());
        }
        // It is stored in few bits and computed with in f32.
        let cast = format!("{name}.f32");
        if !is_there {
            self.push("Cast", vec![name.into()], cast.clone(), vec![int("to", FLOAT.into())]);
        }
        Ok(cast)
    }
}

fn dense(name: &str, tensor: &Tensor) -> Result<TensorProto, ExportError> {
    let data_type = match tensor.dtype() {
        DType::F16 => FLOAT16,
        DType::BF16 => BFLOAT16,
        _ => FLOAT,
    };
    let raw = RawTensor::of(tensor)?;
    let dims = raw.shape.iter().map(|&size| size as i64).collect();
    Ok(TensorProto {
        dims,
        data_type,
        name: name.into(),
        raw_data: raw.data,
        ..TensorProto::default()
    })
}

fn sparse(name: &str, tensor: &Tensor) -> Result<SparseTensor, ExportError> {
    let values = Numbers::of(&RawTensor::of(tensor)?).and_then(Numbers::floats);
    let values = values.map_err(ExportError::Impossible)?;
    let kept: Vec<(i64, f32)> = (0..).zip(values).filter(|(_, v)| *v != 0.0).collect();
    let of = |name: &str, data_type: i32, raw_data: Vec<u8>| {
        let (dims, name) = (vec![kept.len() as i64], name.into());
        Some(TensorProto { dims, data_type, name, raw_data, ..TensorProto::default() })
    };
    Ok(SparseTensor {
        values: of(name, FLOAT, kept.iter().flat_map(|(_, v)| v.to_le_bytes()).collect()),
        indices: of("", INT64, kept.iter().flat_map(|(at, _)| at.to_le_bytes()).collect()),
        dims: tensor.dims().iter().map(|&size| size as i64).collect(),
    })
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), kind: 2, ..Attribute::default() }
}

fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(f), kind: 1, ..Attribute::default() }
}

fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints, kind: 7, ..Attribute::default() }
}
