//! Writes a network as an ONNX file.

use super::{
    operator::{Operator, operator},
    parts::{int, integers, raw, sizes},
    repeats::Repeats,
};
use crate::{ExportError, Network, element::ElementType};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use taper_graph::{Op, Tensor};
use taper_onnx::proto::{
    Attribute, BFLOAT16, Dimension, FLOAT, FLOAT16, GraphProto, INT64, ModelProto, NodeProto,
    OperatorSet, Shape, SparseTensor, StringStringEntryProto, TensorProto, TensorType, Type,
    ValueInfo,
};
use taper_train::checkpoint::RawTensor;

/// Value of `kind` in the metadata.
const KIND: &str = "taper-onnx-1";

/// Versions of the operators and of the file format.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// The bytes of the file. The input is `images`, the output is `logits`, and the batch size is open. `is_sparse` stores
/// weights as indices and values.
pub(crate) fn bytes(
    network: &Network,
    element: ElementType,
    is_sparse: bool,
) -> Result<Vec<u8>, ExportError> {
    if is_sparse && element != ElementType::F32 {
        let message = "sparse initializers must be f32; choose f32, or dense initializers";
        return Err(ExportError::Impossible(message.into()));
    }
    let mut writer = Writer::new(network, element, is_sparse);
    // ONNX requires a name.
    let architecture = network.metadata().get("architecture").filter(|name| !name.is_empty());
    writer.graph.name = architecture.map_or("network", String::as_str).into();
    writer.nodes()?;
    let value = |name: String, dims: &[usize]| {
        let fixed =
            dims.iter().map(|&size| Dimension { dim_value: Some(size as i64), dim_param: None });
        let batch = Dimension { dim_value: None, dim_param: Some("batch".into()) };
        let shape = Shape { dim: std::iter::once(batch).chain(fixed).collect() };
        let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(shape) });
        ValueInfo { name, r#type: Some(Type { tensor_type }) }
    };
    let images = value(writer.free("images".into()), network.image());
    let logits = value(writer.free("logits".into()), network.graph.output_dims());
    let mut graph = writer.graph;
    graph.input.push(images);
    graph.output.push(logits);
    let entry = |(key, value): (&str, &str)| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
    };
    let metadata = network.metadata().iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let model = ModelProto {
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
    element: ElementType,
    is_sparse: bool,
    layers: BTreeMap<&'a str, &'static str>,
    graph: GraphProto,
    /// Name of the value of each node.
    values: Vec<String>,
    /// Nodes with the same value for all images. The value has no batch dimension.
    constants: BTreeSet<usize>,
    /// Names of these values after a batch dimension has been added.
    repeated: BTreeMap<usize, String>,
    /// Initializers that have been written.
    written: BTreeSet<String>,
    /// Names of the values of constants, by the names of their tensors.
    planes: BTreeMap<&'a str, String>,
}

impl<'a> Writer<'a> {
    fn new(network: &'a Network, element: ElementType, is_sparse: bool) -> Self {
        let mut constants = BTreeSet::new();
        for (i, node) in network.graph.nodes.iter().enumerate() {
            let is_constant = match node.op {
                Op::Constant(_) => true,
                // ONNX broadcasts their inputs. All other operations need a batch dimension.
                Op::Add | Op::Multiply => node.inputs.iter().all(|x| constants.contains(x)),
                _ => false,
            };
            if is_constant {
                constants.insert(i);
            }
        }
        let mut writer = Self {
            network,
            element,
            is_sparse,
            layers: network.layers(),
            graph: GraphProto::default(),
            values: Vec::new(),
            constants,
            repeated: BTreeMap::new(),
            written: BTreeSet::new(),
            planes: BTreeMap::new(),
        };
        writer.values = writer.names();
        writer
    }

    /// Names of the nodes' values. A global average and its reshape to a vector share a number.
    fn names(&self) -> Vec<String> {
        let graph = &self.network.graph;
        let mut number = 0;
        let mut names = Vec::with_capacity(graph.nodes.len());
        for (i, node) in graph.nodes.iter().enumerate() {
            let becomes_vector = matches!(node.op, Op::GlobalAverage)
                && graph.nodes.get(i + 1).is_some_and(|next| {
                    matches!(&next.op, Op::Reshape(dims) if dims.len() == 1) && next.inputs == [i]
                });
            let name = match node.op {
                Op::Input => "images".into(),
                _ if i == graph.output && !self.constants.contains(&i) => "logits".into(),
                _ if becomes_vector => format!("mean{number}"),
                _ => format!("value{number}"),
            };
            names.push(self.free(name));
            number += usize::from(!becomes_vector);
        }
        names
    }

    /// The name, with underscores appended until no tensor has it.
    fn free(&self, mut name: String) -> String {
        while self.network.graph.tensors.contains_key(&name) {
            name.push('_');
        }
        name
    }

    fn nodes(&mut self) -> Result<(), ExportError> {
        let network = self.network;
        let graph = &network.graph;
        for (i, node) in graph.nodes.iter().enumerate() {
            match &node.op {
                Op::Input => continue,
                Op::Constant(name) => {
                    self.values[i] = self.planes(name)?;
                    continue;
                }
                _ => {}
            }
            let is_broadcast = matches!(node.op, Op::Add | Op::Multiply);
            let inputs = node.inputs.iter();
            let mut inputs: Vec<String> = match is_broadcast {
                true => inputs.map(|&x| self.values[x].clone()).collect(),
                false => inputs.map(|&x| self.with_batch(x)).collect(),
            };
            let output = self.values[i].clone();
            if let Op::Activation(taper_graph::ActivationFn::Silu) = node.op {
                let sigmoid = self.free(format!("{output}.sigmoid"));
                self.push("Sigmoid", inputs.clone(), sigmoid.clone(), Vec::new());
                inputs.push(sigmoid);
            }
            let Operator { op_type, attributes, constants } = operator(&node.op)?;
            for name in node.op.tensors() {
                inputs.push(self.tensor(name)?);
            }
            for (part, constant) in constants {
                inputs.push(match constant {
                    Some(tensor) => self.constant(&output, part, tensor),
                    None => String::new(),
                });
            }
            self.push(op_type, inputs, output, attributes);
        }
        let output = self.with_batch(graph.output);
        let logits = self.free("logits".into());
        if output != logits {
            self.push("Identity", vec![output], logits, Vec::new());
        }
        Ok(())
    }

    /// Name of a node's value with a batch dimension.
    fn with_batch(&mut self, node: usize) -> String {
        let value = self.values[node].clone();
        if !self.constants.contains(&node) {
            return value;
        }
        if let Some(name) = self.repeated.get(&node) {
            return name.clone();
        }
        let [batch, shape, repeated] =
            ["batch", "shape", "repeated"].map(|part| self.free(format!("constant{node}.{part}")));
        let dims = integers(&self.network.graph.nodes[node].dims);
        let dims = self.constant(&format!("constant{node}"), "dims", dims);
        let images = self.values[taper_graph::Graph::INPUT].clone();
        self.push("Shape", vec![images], batch.clone(), vec![int("end", 1), int("start", 0)]);
        self.push("Concat", vec![batch, dims], shape.clone(), vec![int("axis", 0)]);
        self.push("Expand", vec![value, shape], repeated.clone(), Vec::new());
        self.repeated.insert(node, repeated.clone());
        repeated
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
        self.graph.node.push(NodeProto {
            input,
            output: vec![output],
            name,
            op_type,
            attribute,
            ..NodeProto::default()
        });
    }

    /// Adds an initializer for a value. Returns its name.
    fn constant(&mut self, value: &str, part: &str, tensor: TensorProto) -> String {
        let name = self.free(format!("{value}.{part}"));
        self.graph.initializer.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    /// Adds a constant, and stores equal rows and columns once. Returns the name of its value.
    fn planes(&mut self, name: &'a str) -> Result<String, ExportError> {
        if let Some(value) = self.planes.get(name) {
            return Ok(value.clone());
        }
        let network = self.network;
        let value = match Repeats::of(network.graph.tensor(name)?)? {
            None => self.tensor(name)?,
            Some(Repeats { distinct, rows, columns }) => {
                let mut value = self.initializer(name, &distinct)?;
                for (axis, part, places) in [(1, "rows", rows), (2, "columns", columns)] {
                    let Some(places) = places else { continue };
                    let places = self.constant(name, part, integers(&places));
                    let gathered = self.free(format!("{name}.all_{part}"));
                    let axis = vec![int("axis", axis)];
                    self.push("Gather", vec![value, places], gathered.clone(), axis);
                    value = gathered;
                }
                value
            }
        };
        self.planes.insert(name, value.clone());
        Ok(value)
    }

    /// Adds a tensor of the network as an initializer. Returns the name that nodes read.
    fn tensor(&mut self, name: &str) -> Result<String, ExportError> {
        let network = self.network;
        self.initializer(name, network.graph.tensor(name)?)
    }

    /// Adds an initializer. Returns the name that nodes read.
    fn initializer(&mut self, name: &str, tensor: &Tensor) -> Result<String, ExportError> {
        let is_new = self.written.insert(name.into());
        if is_new {
            if self.is_sparse && self.layers.contains_key(name) {
                self.graph.sparse_initializer.push(sparse(name, tensor));
            } else {
                self.graph.initializer.push(dense(name, self.element, tensor)?);
            }
        }
        if self.element == ElementType::F32 {
            return Ok(name.into());
        }
        // It is stored in 16 bits, but computations use f32.
        let cast = self.free(format!("{name}.f32"));
        if is_new {
            self.push("Cast", vec![name.into()], cast.clone(), vec![int("to", FLOAT.into())]);
        }
        Ok(cast)
    }
}

fn dense(name: &str, element: ElementType, tensor: &Tensor) -> Result<TensorProto, ExportError> {
    let data_type = match element {
        ElementType::F32 => FLOAT,
        ElementType::F16 => FLOAT16,
        ElementType::Bf16 => BFLOAT16,
    };
    let RawTensor { shape, data, .. } = element.raw(name, tensor)?;
    Ok(TensorProto { name: name.into(), ..raw(data_type, &shape, data) })
}

fn sparse(name: &str, tensor: &Tensor) -> SparseTensor {
    let values = tensor.values().iter().copied();
    let kept: Vec<(i64, f32)> = (0..).zip(values).filter(|(_, v)| *v != 0.0).collect();
    let of = |name: &str, data_type: i32, data: Vec<u8>| {
        Some(TensorProto { name: name.into(), ..raw(data_type, &[kept.len()], data) })
    };
    SparseTensor {
        values: of(name, FLOAT, kept.iter().flat_map(|(_, v)| v.to_le_bytes()).collect()),
        indices: of("", INT64, kept.iter().flat_map(|(at, _)| at.to_le_bytes()).collect()),
        dims: sizes(tensor.dims()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_graph::{ActivationFn, Conv, Fused, Norm, Pad, Window};

    type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

    fn written(graph: taper_graph::Graph, element: ElementType) -> Result<ModelProto> {
        Ok(ModelProto::decode(&bytes(&graph.into(), element, false)?[..])?)
    }

    /// `output = Type(inputs)`, in order.
    fn lines(model: &ModelProto) -> Vec<String> {
        let nodes = model.graph.iter().flat_map(|graph| &graph.node);
        let line =
            |n: &NodeProto| format!("{} = {}({})", n.output[0], n.op_type, n.input.join(", "));
        nodes.map(line).collect()
    }

    /// Attributes of a node, as `name=value`.
    fn attributes(model: &ModelProto, output: &str) -> Vec<String> {
        let mut nodes = model.graph.iter().flat_map(|graph| &graph.node);
        let node = nodes.find(|node| node.output[0] == output).expect("a node");
        let shown = |a: &Attribute| match a.kind {
            1 => format!("{}={:?}", a.name, a.f.unwrap_or_default()),
            2 => format!("{}={:?}", a.name, a.i.unwrap_or_default()),
            _ => format!("{}={:?}", a.name, a.ints),
        };
        node.attribute.iter().map(shown).collect()
    }

    /// An initializer: shape and 32 or 64-bit numbers.
    fn constant(model: &ModelProto, name: &str) -> (Vec<i64>, Vec<f64>) {
        let mut all = model.graph.iter().flat_map(|graph| &graph.initializer);
        let found = all.find(|tensor| tensor.name == name).expect("an initializer");
        let numbers = match found.data_type {
            FLOAT => {
                found.raw_data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect()
            }
            _ => {
                found.raw_data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect()
            }
        };
        (found.dims.clone(), numbers)
    }

    fn tensor(dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        Tensor::new(dims, (0..n).map(|i| i as f32 - 2.0).collect::<Vec<_>>()).expect("a tensor")
    }

    #[test]
    fn windows_are_written_with_each_of_their_sides() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[2, 9, 8]);
        graph.add_tensor("w", tensor(&[4, 1, 2, 3]));
        graph.add_tensor("b", tensor(&[4]));
        let window =
            Window { kernel: [2, 3], stride: [1, 2], padding: [1, 2, 0, 1], dilation: [3, 1] };
        let conv = Conv { weight: "w".into(), bias: Some("b".into()), window, groups: 2 };
        let x = graph.push(Op::Conv(conv), &[0])?;
        let x = graph.push(Op::MaxPool(Window { dilation: [2, 1], ..Window::same(3) }), &[x])?;
        let mean = |window, counts_padding| Op::AveragePool { window, counts_padding };
        let square = Window::square(2, 1, 0);
        let padded = Window { padding: [0, 0, 1, 0], ..square };
        let x = graph.push(mean(padded, true), &[x])?;
        let x = graph.push(mean(padded, false), &[x])?;
        graph.output = graph.push(mean(square, true), &[x])?;
        let model = written(graph.clone(), ElementType::F32)?;
        let expected = [
            "value1 = Conv(images, w, b)",
            "value2 = MaxPool(value1)",
            "value3 = AveragePool(value2)",
            "value4 = AveragePool(value3)",
            "logits = AveragePool(value4)",
        ];
        assert_eq!(lines(&model), expected);
        let conv = [
            "dilations=[3, 1]",
            "group=2",
            "kernel_shape=[2, 3]",
            "pads=[1, 2, 0, 1]",
            "strides=[1, 2]",
        ];
        assert_eq!(attributes(&model, "value1"), conv);
        let pool =
            ["dilations=[2, 1]", "kernel_shape=[3, 3]", "pads=[1, 1, 1, 1]", "strides=[1, 1]"];
        assert_eq!(attributes(&model, "value2"), pool);
        let rest = ["kernel_shape=[2, 2]", "pads=[0, 0, 1, 0]", "strides=[1, 1]"];
        assert_eq!(attributes(&model, "value3"), [&["count_include_pad=1"], &rest[..]].concat());
        assert_eq!(attributes(&model, "value4"), [&["count_include_pad=0"], &rest[..]].concat());
        assert_eq!(attributes(&model, "logits"), ["kernel_shape=[2, 2]", "strides=[1, 1]"]);
        let dilated = Window { dilation: [2; 2], ..square };
        graph.output = graph.push(mean(dilated, true), &[0])?;
        let error = written(graph, ElementType::F32).unwrap_err().to_string();
        assert!(error.contains("average pooling with dilation"), "{error}");
        Ok(())
    }

    #[test]
    fn operations_read_their_numbers_from_attributes_or_inputs() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[2, 4, 6]);
        for name in ["g", "b", "m", "v"] {
            graph.add_tensor(name, tensor(&[2]));
        }
        graph.add_tensor("w", tensor(&[3, 2]));
        let [weight, bias, mean, var] = ["g", "b", "m", "v"].map(String::from);
        let mut x = 0;
        for op in [
            Op::Norm(Norm { weight, bias, mean, var, eps: 0.5 }),
            Op::Activation(ActivationFn::Relu),
            Op::Activation(ActivationFn::RELU6),
            Op::Activation(ActivationFn::LeakyRelu { slope: 0.25 }),
            Op::Activation(ActivationFn::Sigmoid),
            Op::Activation(ActivationFn::HardSigmoid { alpha: 0.125, beta: 0.5 }),
            Op::Activation(ActivationFn::Silu),
            Op::Activation(ActivationFn::HardSwish),
            Op::Pad(Pad { sizes: [1, 2, 3, 4], value: -1.5 }),
            Op::Upsample { factors: [2, 3] },
            Op::Reshape(vec![4, 16, 18]),
            Op::Softmax { axis: 0 },
            Op::GlobalMax,
            Op::Reshape(vec![2, 2]),
            Op::Reshape(vec![4]),
            Op::Reshape(vec![2, 2, 1]),
            Op::GlobalAverage,
            Op::Reshape(vec![2]),
            Op::Linear { weight: "w".into(), bias: None },
        ] {
            x = graph.push(op, &[x])?;
        }
        graph.output = graph.push(Op::Multiply, &[x, x])?;
        let model = written(graph, ElementType::F32)?;
        let expected = [
            "value1 = BatchNormalization(images, g, b, m, v)",
            "value2 = Relu(value1)",
            "value3 = Clip(value2, value3.min, value3.max)",
            "value4 = LeakyRelu(value3)",
            "value5 = Sigmoid(value4)",
            "value6 = HardSigmoid(value5)",
            "value7.sigmoid = Sigmoid(value6)",
            "value7 = Mul(value6, value7.sigmoid)",
            "value8 = HardSwish(value7)",
            "value9 = Pad(value8, value9.pads, value9.value)",
            "value10 = Resize(value9, , value10.scales)",
            "value11 = Reshape(value10, value11.shape)",
            "value12 = Softmax(value11)",
            "value13 = GlobalMaxPool(value12)",
            "value14 = Reshape(value13, value14.shape)",
            "value15 = Flatten(value14)",
            "value16 = Reshape(value15, value16.shape)",
            "mean17 = GlobalAveragePool(value16)",
            "value17 = Flatten(mean17)",
            "value18 = Gemm(value17, w)",
            "logits = Mul(value18, value18)",
        ];
        assert_eq!(lines(&model), expected);
        for (output, expected) in [
            ("value1", &["epsilon=0.5"][..]),
            ("value4", &["alpha=0.25"]),
            ("value6", &["alpha=0.125", "beta=0.5"]),
            ("value10", &[]),
            ("value12", &["axis=1"]),
            ("value15", &["axis=1"]),
            ("value18", &["transB=1"]),
        ] {
            assert_eq!(attributes(&model, output), expected, "{output}");
        }
        for (name, dims, expected) in [
            ("value3.min", &[][..], &[0.0][..]),
            ("value3.max", &[], &[6.0]),
            ("value9.pads", &[8], &[0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0]),
            ("value9.value", &[], &[-1.5]),
            ("value10.scales", &[4], &[1.0, 1.0, 2.0, 3.0]),
            ("value11.shape", &[4], &[0.0, 4.0, 16.0, 18.0]),
        ] {
            assert_eq!(constant(&model, name), (dims.to_vec(), expected.to_vec()), "{name}");
        }
        Ok(())
    }

    #[test]
    fn constants_are_broadcast_by_sums_and_repeated_for_the_batch_elsewhere() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[2, 1, 1]);
        graph.add_tensor("c", tensor(&[2, 1, 1]));
        let c = graph.push(Op::Constant("c".into()), &[])?;
        let twice = graph.push(Op::Add, &[c, c])?;
        let x = graph.push(Op::Multiply, &[0, twice])?;
        graph.output = graph.push(Op::Concat, &[x, twice, twice])?;
        let model = written(graph.clone(), ElementType::F32)?;
        let expected = [
            "value2 = Add(c, c)",
            "value3 = Mul(images, value2)",
            "constant2.batch = Shape(images)",
            "constant2.shape = Concat(constant2.batch, constant2.dims)",
            "constant2.repeated = Expand(value2, constant2.shape)",
            "logits = Concat(value3, constant2.repeated, constant2.repeated)",
        ];
        assert_eq!(lines(&model), expected);
        assert_eq!(attributes(&model, "constant2.batch"), ["end=1", "start=0"]);
        assert_eq!(constant(&model, "constant2.dims"), (vec![3], vec![2.0, 1.0, 1.0]));
        // The output itself.
        graph.output = twice;
        let last = lines(&written(graph.clone(), ElementType::F32)?).pop();
        assert_eq!(last.as_deref(), Some("logits = Identity(constant2.repeated)"));
        graph.output = taper_graph::Graph::INPUT;
        let last = lines(&written(graph, ElementType::F32)?).pop();
        assert_eq!(last.as_deref(), Some("logits = Identity(images)"));
        Ok(())
    }

    #[test]
    fn equal_rows_and_columns_of_constants_are_stored_once() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[2, 4, 9]);
        // Rows and columns differ at one border.
        let pixel = |i: usize| ((i / 36) * 100 + usize::from(i % 36 < 9) * 10) as f32;
        let rows: Vec<f32> = (0..72).map(pixel).collect();
        graph.add_tensor("rows", Tensor::new(&[2, 4, 9], rows.clone())?);
        let both: Vec<f32> = (0..72).map(|i| pixel(i) + f32::from(u8::from(i % 9 == 8))).collect();
        graph.add_tensor("both", Tensor::new(&[2, 4, 9], both)?);
        let mut x = 0;
        for name in ["rows", "both", "both"] {
            let constant = graph.push(Op::Constant(name.into()), &[])?;
            x = graph.push(Op::Add, &[x, constant])?;
        }
        graph.output = x;
        let model = written(graph.clone(), ElementType::F32)?;
        let expected = [
            "rows.all_rows = Gather(rows, rows.rows)",
            "rows.all_columns = Gather(rows.all_rows, rows.columns)",
            "value2 = Add(images, rows.all_columns)",
            "both.all_rows = Gather(both, both.rows)",
            "both.all_columns = Gather(both.all_rows, both.columns)",
            "value4 = Add(value2, both.all_columns)",
            "logits = Add(value4, both.all_columns)",
        ];
        assert_eq!(lines(&model), expected);
        assert_eq!(attributes(&model, "both.all_columns"), ["axis=2"]);
        assert_eq!(constant(&model, "rows"), (vec![2, 2, 1], vec![10.0, 0.0, 110.0, 100.0]));
        let columns = vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(constant(&model, "both.columns"), (vec![9], columns));
        let half = lines(&written(graph.clone(), ElementType::F16)?);
        let expected = ["rows.f32 = Cast(rows)", "rows.all_rows = Gather(rows.f32, rows.rows)"];
        assert_eq!(half[..2], expected);
        let back = taper_onnx::read(&model.encode_to_vec(), None)?;
        let image: Vec<f32> = (0..72).map(|i| i as f32).collect();
        assert_eq!(taper_graph::interpret(&back, &image)?, taper_graph::interpret(&graph, &image)?);
        assert_eq!(back.tensors["rows"].values(), rows);
        Ok(())
    }

    #[test]
    fn values_have_other_names_than_tensors() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[2]);
        for name in ["images", "value1", "logits", "value1.f32"] {
            graph.add_tensor(name, tensor(&[2, 2]));
        }
        let linear = |weight: &str| Op::Linear { weight: weight.into(), bias: None };
        let x = graph.push(linear("images"), &[0])?;
        let x = graph.push(linear("value1"), &[x])?;
        graph.output = graph.push(linear("logits"), &[x])?;
        let model = written(graph.clone(), ElementType::F32)?;
        let expected = [
            "value1_ = Gemm(images_, images)",
            "value2 = Gemm(value1_, value1)",
            "logits_ = Gemm(value2, logits)",
        ];
        assert_eq!(lines(&model), expected);
        let of = |values: &[ValueInfo]| values[0].name.clone();
        let written_graph = model.graph.expect("a graph");
        assert_eq!(
            (of(&written_graph.input), of(&written_graph.output)),
            ("images_".into(), "logits_".into())
        );
        let half = lines(&written(graph, ElementType::F16)?);
        assert_eq!(half[2], "value1.f32_ = Cast(value1)");
        Ok(())
    }

    #[test]
    fn a_written_graph_is_read_as_the_same_function() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[2, 5, 6]);
        let positive = Tensor::new(&[2], [0.5, 2.0])?;
        for name in ["g", "b", "m", "v"] {
            graph.add_tensor(name, positive.clone());
        }
        for (name, dims) in [("k", &[4, 1, 3, 3][..]), ("w", &[3, 8]), ("c", &[4, 1, 1])] {
            graph.add_tensor(name, tensor(dims));
        }
        let [weight, bias, mean, var] = ["g", "b", "m", "v"].map(String::from);
        let window = Window { stride: [1, 2], padding: [1, 0, 2, 1], ..Window::same(3) };
        let conv = Conv { weight: "k".into(), bias: None, window, groups: 2 };
        let mean_of = |counts_padding| Op::AveragePool { window: Window::same(3), counts_padding };
        let mut x = 0;
        for op in [
            Op::Norm(Norm { weight, bias, mean, var, eps: 0.5 }),
            Op::Activation(ActivationFn::LeakyRelu { slope: 0.25 }),
            Op::Activation(ActivationFn::HardSigmoid { alpha: 0.125, beta: 0.5 }),
            Op::Activation(ActivationFn::Silu),
            Op::Pad(Pad { sizes: [1, 2, 3, 4], value: -1.5 }),
            Op::Conv(conv),
            mean_of(true),
            mean_of(false),
            Op::MaxPool(Window::square(2, 1, 1)),
            Op::Upsample { factors: [2, 3] },
            Op::Activation(ActivationFn::HardSwish),
            Op::Activation(ActivationFn::RELU6),
            Op::GlobalAverage,
        ] {
            x = graph.push(op, &[x])?;
        }
        let c = graph.push(Op::Constant("c".into()), &[])?;
        let sum = graph.push(Op::Add, &[x, c])?;
        let both = graph.push(Op::Concat, &[sum, c])?;
        let vector = graph.push(Op::Reshape(vec![8]), &[both])?;
        let linear = Op::Linear { weight: "w".into(), bias: None };
        let scores = graph.push(linear, &[vector])?;
        graph.output = graph.push(Op::Softmax { axis: 0 }, &[scores])?;
        let model = written(graph.clone(), ElementType::F32)?;
        let back = taper_onnx::read(&model.encode_to_vec(), None)?;
        let image: Vec<f32> = (0..60).map(|i| (i % 7) as f32 - 3.0).collect();
        assert_eq!(taper_graph::interpret(&back, &image)?, taper_graph::interpret(&graph, &image)?);
        Ok(())
    }

    #[test]
    fn operations_that_opset_17_lacks_are_rejected() -> Result<()> {
        let mut graph = taper_graph::Graph::new(&[0, 2, 2]);
        graph.output = graph.push(Op::Reshape(vec![2, 0]), &[0])?;
        let error = written(graph, ElementType::F32).unwrap_err().to_string();
        assert!(error.contains("reshape to [2, 0]"), "{error}");
        let mut graph = taper_graph::Graph::new(&[1, 2, 2]);
        graph.add_tensor("w", tensor(&[1, 1, 1, 1]));
        let conv = Conv { weight: "w".into(), bias: None, window: Window::same(1), groups: 1 };
        let fused = Fused { convs: vec![conv], bias: None, residual: false, activation: None };
        graph.output = graph.push(Op::Fused(fused), &[0])?;
        let error = written(graph, ElementType::F32).unwrap_err().to_string();
        assert!(error.contains("fused"), "{error}");
        Ok(())
    }
}
