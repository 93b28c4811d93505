//! Imports small files.

use crate::{
    LeftOpen, Options,
    proto::{
        Attribute, Dimension, FLOAT, GraphProto, INT64, Message, ModelProto, NodeProto,
        OperatorSet, Shape, SparseTensor, StringStringEntryProto, TensorProto, TensorType, Type,
        ValueInfo,
    },
};
use proptest::prelude::*;
use taper_graph::{ActivationFn, Conv, Op, Pad, Window, interpret};

/// A file under construction.
#[derive(Clone)]
struct File(ModelProto);

/// Input `x` of two channels of 4 × 4 pixels, output `y`, opset 17.
fn file() -> File {
    shaped(&[None, Some(2), Some(4), Some(4)])
}

fn shaped(dims: &[Option<i64>]) -> File {
    let dim = |&value: &Option<i64>| Dimension { dim_value: value, dim_param: None };
    let shape = Some(Shape { dim: dims.iter().map(dim).collect() });
    let r#type = Some(Type { tensor_type: Some(TensorType { elem_type: FLOAT, shape }) });
    let graph = GraphProto {
        input: vec![ValueInfo { name: "x".into(), r#type }],
        output: vec![ValueInfo { name: "y".into(), r#type: None }],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
    File(ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() })
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), kind: 2, ..Attribute::default() }
}

fn ints(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: ints.to_vec(), kind: 7, ..Attribute::default() }
}

fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(f), kind: 1, ..Attribute::default() }
}

fn text(name: &str, s: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(s.into()), kind: 3, ..Attribute::default() }
}

fn floats_of(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        float_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn ints_of(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: INT64,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

impl File {
    fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.get_or_insert_default()
    }

    fn opset(mut self, version: i64) -> Self {
        self.0.opset_import[0].version = version;
        self
    }

    /// Adds a node with these inputs and outputs, separated by spaces. `_` omits one.
    fn node(mut self, op: &str, input: &str, output: &str, attribute: Vec<Attribute>) -> Self {
        let names = |text: &str| {
            text.split_whitespace().map(|name| name.replace('_', "")).collect::<Vec<String>>()
        };
        let (input, output) = (names(input), names(output));
        let op_type = op.into();
        self.graph().node.push(NodeProto {
            input,
            output,
            op_type,
            attribute,
            ..NodeProto::default()
        });
        self
    }

    fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.graph().initializer.push(floats_of(name, dims, values));
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph().initializer.push(ints_of(name, values));
        self
    }

    fn import(&self) -> Result<taper_graph::Graph, String> {
        self.import_with(&Options::default())
    }

    fn import_with(&self, options: &Options) -> Result<taper_graph::Graph, String> {
        options.read(&self.0.encode_to_vec(), None).map_err(|e| e.to_string())
    }

    /// Operations after the input, for a valid file.
    fn ops(&self) -> Vec<Op> {
        let graph = self.import().unwrap();
        graph.check().unwrap();
        graph.nodes.into_iter().skip(1).map(|node| node.op).collect()
    }

    /// Shape of the output.
    fn dims(&self) -> Vec<usize> {
        self.import().unwrap().output_dims().to_vec()
    }

    /// The output for the image −16, −15, −14, ….
    fn run(&self) -> Vec<f32> {
        let graph = self.import().unwrap();
        let n = graph.input_dims().iter().product::<usize>();
        let image: Vec<f32> = (0..n).map(|i| i as f32 - 16.0).collect();
        interpret(&graph, &image).unwrap()
    }

    /// Checks that the file is rejected with a message that contains these parts.
    fn refuse(&self, parts: &[&str]) {
        let error = self.import().unwrap_err();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

/// One node that reads the image.
fn one(op: &str, attributes: Vec<Attribute>) -> File {
    file().node(op, "x", "y", attributes)
}

const ALPHA: f32 = 1.0 / 6.0;

#[test]
fn activations_with_their_defaults() {
    let of = |file: File| match &file.ops()[..] {
        [Op::Activation(of)] => *of,
        ops => panic!("{ops:?}"),
    };
    assert_eq!(of(one("Relu", vec![])), ActivationFn::Relu);
    assert_eq!(of(one("Sigmoid", vec![])), ActivationFn::Sigmoid);
    assert_eq!(of(one("HardSwish", vec![])), ActivationFn::HardSwish);
    assert_eq!(of(one("LeakyRelu", vec![])), ActivationFn::LeakyRelu { slope: 0.01 });
    let slope = 0.5;
    assert_eq!(
        of(one("LeakyRelu", vec![float("alpha", slope)])),
        ActivationFn::LeakyRelu { slope }
    );
    let default = ActivationFn::HardSigmoid { alpha: 0.2, beta: 0.5 };
    assert_eq!(of(one("HardSigmoid", vec![])), default);
    let zero = Attribute { f: None, ..float("beta", 0.0) };
    let given = ActivationFn::HardSigmoid { alpha: 0.5, beta: 0.0 };
    assert_eq!(of(one("HardSigmoid", vec![float("alpha", 0.5), zero])), given);
}

#[test]
fn clip_with_and_without_bounds() {
    let clip = |input: &str| {
        let bounds = file().floats("low", &[], &[-1.0]).floats("high", &[1], &[2.0]);
        match &bounds.node("Clip", input, "y", vec![]).ops()[..] {
            [Op::Activation(ActivationFn::Clip { min, max })] => (*min, *max),
            ops => panic!("{ops:?}"),
        }
    };
    assert_eq!(clip("x low high"), (-1.0, 2.0));
    assert_eq!(clip("x low"), (-1.0, f32::MAX));
    assert_eq!(clip("x _ high"), (f32::MIN, 2.0));
    assert_eq!(clip("x"), (f32::MIN, f32::MAX));
    let old = one("Clip", vec![float("min", 0.0), float("max", 6.0)]);
    assert_eq!(old.ops(), [Op::Activation(ActivationFn::RELU6)]);
    let nan = file().floats("low", &[], &[f32::NAN]).node("Clip", "x low", "y", vec![]);
    nan.refuse(&["node of `y` (Clip)", "NaN"]);
    let many = file().floats("low", &[2], &[0.0; 2]).node("Clip", "x low", "y", vec![]);
    many.refuse(&["input 1 has shape [2] instead of one number"]);
    let wrong = file().ints("low", &[0]).node("Clip", "x low", "y", vec![]);
    wrong.refuse(&["input 1 has integers instead of floats"]);
}

#[test]
fn nodes_have_the_names_of_the_file_or_of_their_outputs() {
    let mut file = file()
        .floats("c", &[2, 1, 1], &[1.0, 2.0])
        .node("Sigmoid", "x", "s", vec![])
        .node("Mul", "x s", "m", vec![])
        .node("Add", "m c", "y", vec![]);
    file.graph().node[2].name = "/block/Add".into();
    let graph = file.import().unwrap();
    let titles: Vec<String> = (0..graph.nodes.len()).map(|i| graph.title(i)).collect();
    let constant = "node `/block/Add` (constant)";
    let add = "node `/block/Add` (add)";
    assert_eq!(titles, ["node `x` (input)", "node `m` (activation)", constant, add]);
}

#[test]
fn max_and_min_accept_one_number_or_constants() {
    let of = |operator: &str, c: f32| {
        file().floats("c", &[1, 1], &[c]).node(operator, "c x", "y", vec![]).ops()
    };
    let clip = |min, max| [Op::Activation(ActivationFn::Clip { min, max })];
    assert_eq!(of("Max", 0.5), clip(0.5, f32::INFINITY));
    assert_eq!(of("Min", 0.5), clip(f32::NEG_INFINITY, 0.5));
    assert_eq!(one("Max", vec![]).ops(), []);
    let of_constants = |operator: &str| {
        let file = file().floats("a", &[2], &[1.0, f32::NAN]).floats("b", &[], &[2.0]);
        let file = file.ints("m", &[4, -3]).ints("n", &[-1]).node(operator, "m n", "k", vec![]);
        let file =
            file.node(operator, "a b", "c", vec![]).node("Cast", "k", "f", vec![int("to", 1)]);
        let file = file.node("Concat", "c f", "all", vec![int("axis", 0)]);
        let file = file.ints("shape", &[1, 4, 1, 1]).node("Reshape", "all shape", "r", vec![]);
        file.node("GlobalMaxPool", "x", "g", vec![])
            .floats("w", &[4, 2, 1, 1], &[0.0; 8])
            .node("Conv", "g w", "z", vec![])
            .node("Add", "z r", "y", vec![])
            .run()
    };
    let [max, min] = ["Max", "Min"].map(of_constants);
    assert_eq!([max[0], max[2], max[3]], [2.0, 4.0, -1.0]);
    assert_eq!([min[0], min[2], min[3]], [1.0, -1.0, -3.0]);
    assert!(max[1].is_nan() && min[1].is_nan());
    for (name, values) in [("c", &[0.0, 1.0][..]), ("d", &[f32::NAN])] {
        let file = file().floats(name, &[values.len() as i64, 1, 1], values);
        let input = format!("x {name}");
        file.node("Max", &input, "y", vec![]).refuse(&["node of `y` (Max)", "one number"]);
    }
    file().node("Max", "x x", "y", vec![]).refuse(&["one number"]);
}

#[test]
fn the_negative_of_constants_and_shapes_is_a_constant() {
    let shape = file().ints("n", &[1, -8, -4]).node("Neg", "n", "s", vec![]);
    assert_eq!(shape.node("Reshape", "x s", "y", vec![]).dims(), [8, 4]);
    let least = file().ints("n", &[i64::MIN]).node("Neg", "n", "p", vec![]);
    least.node("Reshape", "x p", "y", vec![]).refuse(&["does not fit 64 bits"]);
    let floats = file().floats("c", &[2, 1, 1], &[1.0, -2.0]).node("Neg", "c", "d", vec![]);
    let run = floats.node("Mul", "x d", "y", vec![]).run();
    assert_eq!((run[0], run[16]), (16.0, 0.0));
    assert_eq!(one("Neg", vec![]).run()[..2], [16.0, 15.0]);
}

#[test]
fn decomposed_activations_become_one_operation() {
    let of = |file: File| match &file.ops()[..] {
        [Op::Activation(of)] => *of,
        ops => panic!("{ops:?}"),
    };
    let silu = file().node("Sigmoid", "x", "s", vec![]);
    for inputs in ["x s", "s x"] {
        assert_eq!(of(silu.clone().node("Mul", inputs, "y", vec![])), ActivationFn::Silu);
    }
    let hard = file().node("HardSigmoid", "x", "s", vec![float("alpha", 0.166_666_67)]);
    for inputs in ["x s", "s x"] {
        assert_eq!(of(hard.clone().node("Mul", inputs, "y", vec![])), ActivationFn::HardSwish);
    }
    let clipped = file()
        .floats("three", &[], &[3.0])
        .floats("zero", &[], &[0.0])
        .floats("six", &[], &[6.0])
        .node("Add", "x three", "a", vec![])
        .node("Clip", "a zero six", "c", vec![]);
    let sigmoid = clipped.clone().node("Div", "c six", "y", vec![]);
    assert_eq!(of(sigmoid), ActivationFn::HardSigmoid { alpha: ALPHA, beta: 0.5 });
    let divided_last = clipped.clone().node("Mul", "x c", "m", vec![]);
    assert_eq!(of(divided_last.node("Div", "m six", "y", vec![])), ActivationFn::HardSwish);
    let divided_first = clipped.node("Div", "c six", "d", vec![]);
    assert_eq!(of(divided_first.node("Mul", "d x", "y", vec![])), ActivationFn::HardSwish);
}

#[test]
fn what_only_looks_like_an_activation_stays() {
    let of_another = file().node("Relu", "x", "r", vec![]).node("Sigmoid", "r", "s", vec![]).node(
        "Mul",
        "x s",
        "y",
        vec![],
    );
    assert_eq!(of_another.ops().len(), 3);
    let other_slope = file().node("HardSigmoid", "x", "s", vec![]).node("Mul", "x s", "y", vec![]);
    assert_eq!(other_slope.ops().len(), 2);
    // The sigmoid stays, as another node reads it.
    let read_twice = file().node("Sigmoid", "x", "s", vec![]).node("Mul", "x s", "m", vec![]).node(
        "Add",
        "m s",
        "y",
        vec![],
    );
    let found = read_twice.ops();
    let sigmoid = Op::Activation(ActivationFn::Sigmoid);
    assert_eq!(found, [sigmoid, Op::Activation(ActivationFn::Silu), Op::Add]);
}

fn conv_file(attributes: Vec<Attribute>) -> File {
    let values: Vec<f32> = (0..54).map(|i| i as f32 / 8.0).collect();
    file()
        .floats("w", &[3, 2, 3, 3], &values)
        .floats("b", &[3], &[1.0, 2.0, 3.0])
        .node("Conv", "x w b", "y", attributes)
}

fn conv_of(file: &File) -> Conv {
    match &file.ops()[..] {
        [Op::Conv(conv)] => conv.clone(),
        ops => panic!("{ops:?}"),
    }
}

#[test]
fn convolutions_keep_their_parameters() {
    let file = conv_file(vec![
        ints("kernel_shape", &[3, 3]),
        ints("pads", &[0, 1, 2, 3]),
        ints("strides", &[2, 1]),
        ints("dilations", &[1, 2]),
        text("auto_pad", "NOTSET"),
    ]);
    let window = Window { kernel: [3; 2], stride: [2, 1], padding: [0, 1, 2, 3], dilation: [1, 2] };
    let want = Conv { weight: "w".into(), bias: Some("b".into()), window, groups: 1 };
    assert_eq!(conv_of(&file), want);
    assert_eq!(file.dims(), [3, 2, 4]);
    assert_eq!(conv_of(&conv_file(vec![])).window, Window::square(3, 1, 0));
    let w = &file.import().unwrap().tensors["w"];
    assert_eq!((w.dims(), w.values()[53]), (&[3, 2, 3, 3][..], 53.0 / 8.0));
}

#[test]
fn auto_pad_keeps_the_plane_with_the_odd_pixel_before_or_after() {
    let padding = |auto: &str, stride: i64, dilation: i64| {
        let strides = ints("strides", &[stride; 2]);
        let dilations = ints("dilations", &[dilation; 2]);
        let file = conv_file(vec![text("auto_pad", auto), strides, dilations]);
        (conv_of(&file).window.padding, file.dims()[1])
    };
    assert_eq!(padding("SAME_UPPER", 1, 1), ([1, 1, 1, 1], 4));
    assert_eq!(padding("SAME_UPPER", 2, 1), ([0, 0, 1, 1], 2));
    assert_eq!(padding("SAME_LOWER", 2, 1), ([1, 1, 0, 0], 2));
    assert_eq!(padding("SAME_UPPER", 4, 1), ([0, 0, 0, 0], 1));
    assert_eq!(padding("SAME_LOWER", 1, 2), ([2, 2, 2, 2], 4));
    assert_eq!(padding("VALID", 1, 1), ([0; 4], 2));
    let both = conv_file(vec![text("auto_pad", "SAME_UPPER"), ints("pads", &[1; 4])]);
    both.refuse(&["both pads and auto_pad `SAME_UPPER`"]);
    conv_file(vec![text("auto_pad", "MOST")]).refuse(&["`MOST`"]);
    let zero = vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[0, 1])];
    conv_file(zero).refuse(&["stride 0"]);
}

#[test]
fn wrong_convolutions_are_rejected() {
    conv_file(vec![ints("kernel_shape", &[3, 1])])
        .refuse(&["its kernel_shape is [3, 1]", "[3, 3]"]);
    conv_file(vec![int("group", 2)]).refuse(&["in 2 groups"]);
    conv_file(vec![int("group", -1)]).refuse(&["-1 groups"]);
    conv_file(vec![ints("pads", &[0, 0, -1, 0])]).refuse(&["its pads are [0, 0, -1, 0]"]);
    conv_file(vec![ints("strides", &[1])]).refuse(&["its strides are [1] instead of 2"]);
    conv_file(vec![int("strides", 1)]).refuse(&["`strides` is not of type list of integers"]);
    conv_file(vec![int("spread", 1)]).refuse(&["its attribute `spread` is not supported"]);
    conv_file(vec![int("group", 1), int("group", 1)]).refuse(&["`group` occurs twice"]);
    let lines = file().floats("w", &[3, 2, 3], &[0.0; 18]).node("Conv", "x w", "y", vec![]);
    lines.refuse(&["(Conv)", "[3, 2, 3]", "two spatial dimensions"]);
    file().node("Conv", "x x", "y", vec![]).refuse(&["input 1 depends on the image"]);
    file().node("Conv", "x", "y", vec![]).refuse(&["input 1 is missing"]);
    conv_file(vec![]).node("Conv", "x w b x", "z", vec![]).import().unwrap();
    file().node("Relu", "x x", "y", vec![]).refuse(&["it has 2 inputs, more than 1"]);
}

#[test]
fn linear_layers_of_every_form() {
    let flat = || {
        shaped(&[Some(1), Some(3), Some(1), Some(1)])
            .node("Flatten", "x", "f", vec![])
            .floats("w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
            .floats("t", &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])
    };
    let image = [1.0, 10.0, 100.0];
    let run = |file: File| interpret(&file.import().unwrap(), &image).unwrap();
    assert_eq!(run(flat().node("Gemm", "f w", "y", vec![int("transB", 1)])), [321.0, 654.0]);
    assert_eq!(run(flat().node("Gemm", "f t", "y", vec![])), [321.0, 654.0]);
    assert_eq!(run(flat().node("MatMul", "f t", "y", vec![])), [321.0, 654.0]);
    for (dims, values, want) in [
        (&[2][..], &[1.0, 2.0][..], [644.0, 1312.0]),
        (&[1, 2], &[1.0, 2.0], [644.0, 1312.0]),
        (&[1], &[3.0], [648.0, 1314.0]),
        (&[], &[3.0], [648.0, 1314.0]),
    ] {
        let biased = flat().floats("b", dims, values);
        let scales = vec![float("alpha", 2.0), float("beta", 2.0)];
        assert_eq!(run(biased.clone().node("Gemm", "f t b", "y", scales)), want, "{dims:?}");
    }
    let bad = flat().floats("b", &[2, 1], &[1.0, 2.0]).node("Gemm", "f t b", "y", vec![]);
    bad.refuse(&["its bias has shape [2, 1]", "2 outputs"]);
    flat().node("Gemm", "f t", "y", vec![int("transA", 1)]).refuse(&["first input"]);
    flat().node("MatMul", "x t", "y", vec![]).refuse(&["[batch, features]"]);
    flat().node("MatMul", "f w", "y", vec![]).refuse(&["(MatMul)", "[3, 2]"]);
}

#[test]
fn a_constant_that_is_added_to_a_product_becomes_its_bias() {
    let linear = shaped(&[None, Some(3), Some(1), Some(1)])
        .node("Flatten", "x", "f", vec![])
        .floats("t", &[3, 2], &[1.0; 6])
        .floats("b", &[2], &[1.0, 2.0])
        .node("MatMul", "f t", "m", vec![])
        .node("Add", "b m", "y", vec![]);
    let graph = taper_graph::passes::optimized(&linear.import().unwrap()).unwrap();
    assert!(matches!(graph.nodes[graph.output].op, Op::Linear { bias: Some(_), .. }));
    assert_eq!(linear.run(), [-44.0, -43.0]);
}

#[test]
fn a_constant_is_repeated_for_each_image() {
    let repeated = |dims: &[i64]| {
        file()
            .floats("c", &[1, 4], &[1.0, 2.0, 3.0, 4.0])
            .ints("dims", dims)
            .node("Shape", "x", "n", vec![int("end", 1)])
            .node("Concat", "n dims", "s", vec![int("axis", 0)])
            .node("Expand", "c s", "e", vec![])
            .node("Concat", "x e", "y", vec![int("axis", 1)])
    };
    let file = repeated(&[3, 4, 4]);
    assert_eq!((file.dims(), &file.run()[32..37]), (vec![5, 4, 4], &[1.0, 2.0, 3.0, 4.0, 1.0][..]));
    repeated(&[3, 4, 5]).refuse(&["(Expand)", "[1, 4]", "[3, 4, 5]"]);
    repeated(&[1 << 40, 4, 4]).refuse(&["(Expand)", "that the stored weights allow"]);
    // The constant may be larger than the shape.
    let larger = file_of_sum();
    assert_eq!(larger.run()[..2], [-15.0, -13.0]);
}

/// The sum of `x` and a constant with four columns for each channel, expanded to a shape of one column.
fn file_of_sum() -> File {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let file = file().floats("c", &[2, 1, 4], &values).ints("s", &[4, 1]);
    file.node("Expand", "c s", "e", vec![]).node("Add", "x e", "y", vec![])
}

#[test]
fn batch_norm_in_training_mode_is_rejected() {
    let norm = |attributes| {
        let channels = ["s", "b", "m", "v"];
        let file = channels.iter().fold(file(), |file, name| file.floats(name, &[2], &[1.0; 2]));
        file.node("BatchNormalization", "x s b m v", "y", attributes)
    };
    let [Op::Norm(found)] = &norm(vec![float("momentum", 0.9)]).ops()[..] else { panic!() };
    assert_eq!((&*found.mean, found.eps), ("m", f64::from(1e-5f32)));
    let [Op::Norm(found)] = &norm(vec![float("epsilon", 0.5)]).ops()[..] else { panic!() };
    assert_eq!(found.eps, 0.5);
    norm(vec![int("training_mode", 1)]).refuse(&["eval mode"]);
    // Older versions have further outputs in training mode; omitted ones do not count.
    let with = |outputs: &[&str], opset| {
        let mut file = norm(vec![]).opset(opset);
        let node = file.0.graph.as_mut().and_then(|graph| graph.node.last_mut());
        node.unwrap().output.extend(outputs.iter().map(|&name| name.to_owned()));
        file
    };
    assert!(with(&["", ""], 13).import().is_ok());
    with(&["mean"], 13).refuse(&["eval mode"]);
    assert!(with(&["mean"], 14).import().is_ok());
}

#[test]
fn constants_are_aligned_with_an_image() {
    let with = |op: &str, dims: &[i64], input: &str| {
        let n = dims.iter().product::<i64>();
        let values: Vec<f32> = (0..n).map(|i| i as f32 + 2.0).collect();
        file().floats("c", dims, &values).node(op, input, "y", vec![])
    };
    assert_eq!(with("Mul", &[1, 2, 1, 1], "x c").run()[15..17], [-2.0, 0.0]);
    assert_eq!(with("Mul", &[2, 1, 1], "c x").run()[..2], [-32.0, -30.0]);
    assert_eq!(with("Add", &[4], "x c").run()[..4], [-14.0, -12.0, -10.0, -8.0]);
    assert_eq!(with("Sub", &[], "x c").run()[..2], [-18.0, -17.0]);
    assert_eq!(with("Sub", &[], "c x").run()[..2], [18.0, 17.0]);
    assert_eq!(with("Div", &[], "x c").run()[..2], [-8.0, -7.5]);
    assert_eq!(file().node("Sub", "x x", "y", vec![]).run(), [0.0; 32]);
    with("Div", &[], "c x").refuse(&["(Div)", "input 1 depends on the image"]);
    with("Add", &[3, 2, 4, 4], "x c").refuse(&["shape [3, 2, 4, 4]"]);
    with("Add", &[3], "x c").refuse(&["do not fit together"]);
    let zero = file().floats("c", &[], &[0.0]).node("Div", "x c", "y", vec![]);
    zero.refuse(&["it divides by 0"]);
    let whole = file().ints("c", &[1]).node("Add", "x c", "y", vec![]);
    whole.refuse(&["a value of the image and integers"]);
    let ranks = file().node("Flatten", "x", "f", vec![]).node("Add", "x f", "y", vec![]);
    ranks.refuse(&["[2, 4, 4] and [32]"]);
}

#[test]
fn constants_are_folded_and_shared() {
    // 2·3 + 4 = 10, through an identity and a cast.
    let folded = file()
        .floats("two", &[], &[2.0])
        .floats("three", &[1, 1], &[3.0])
        .floats("four", &[1], &[4.0])
        .node("Identity", "two", "i", vec![])
        .node("Mul", "i three", "m", vec![])
        .node("Cast", "m", "n", vec![int("to", 1)])
        .node("Add", "n four", "a", vec![])
        .node("Mul", "x a", "y", vec![]);
    assert_eq!(folded.run()[0], -160.0);
    let shared = file()
        .floats("w", &[2, 2, 1, 1], &[1.0; 4])
        .node("Identity", "w", "v", vec![])
        .node("Conv", "x w", "a", vec![])
        .node("Conv", "a v", "y", vec![]);
    assert_eq!(shared.import().unwrap().tensors.len(), 1);
    // One constant in two shapes.
    let copies = file()
        .floats("c", &[2], &[1.0, 2.0])
        .ints("axes", &[1, 2])
        .node("Unsqueeze", "c axes", "u", vec![])
        .node("GlobalMaxPool", "x", "g", vec![])
        .node("Flatten", "g", "f", vec![])
        .node("Mul", "f c", "m", vec![])
        .ints("shape", &[0, 2, 1, 1])
        .node("Reshape", "m shape", "r", vec![])
        .node("Mul", "r u", "y", vec![]);
    let tensors = copies.import().unwrap().tensors;
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["c", "c.2"]);
    let turned = file()
        .floats("w", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])
        .node("Transpose", "w", "t", vec![])
        .node("Conv", "x t", "y", vec![]);
    let graph = turned.import().unwrap();
    assert_eq!(graph.tensors["w"].dims(), [2, 2, 1, 1]);
    assert_eq!(graph.tensors["w"].values(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn constant_nodes_of_every_kind() {
    let add = |attribute: Attribute| {
        file().node("Constant", "", "c", vec![attribute]).node("Add", "x c", "y", vec![])
    };
    let t = Some(floats_of("", &[], &[16.0]));
    let tensor = Attribute { name: "value".into(), t, kind: 4, ..Attribute::default() };
    assert_eq!(add(tensor).run()[0], 0.0);
    assert_eq!(add(float("value_float", 17.0)).run()[0], 1.0);
    let floats = vec![16.0, 17.0, 18.0, 19.0];
    let list = Attribute { name: "value_floats".into(), floats, kind: 6, ..Attribute::default() };
    assert_eq!(add(list).run()[..4], [0.0, 2.0, 4.0, 6.0]);
    let sparse_tensor = Some(SparseTensor {
        values: Some(floats_of("", &[1], &[5.0])),
        indices: Some(ints_of("", &[2])),
        dims: vec![4],
    });
    let name = "sparse_value".to_string();
    let sparse = Attribute { name, sparse_tensor, kind: 11, ..Attribute::default() };
    assert_eq!(add(sparse).run()[..4], [-16.0, -15.0, -9.0, -13.0]);
    add(text("value_string", "a")).refuse(&["(Constant)", "no numeric value"]);
    add(int("value_int", 1)).refuse(&["a value of the image and integers"]);
    let listed = file().node("Constant", "", "s", vec![ints("value_ints", &[0, -1])]).node(
        "Reshape",
        "x s",
        "y",
        vec![],
    );
    assert_eq!(listed.dims(), [32]);
}

#[test]
fn pooling_with_rounding_up() {
    let pool = |op: &str, size: i64, mut attributes: Vec<Attribute>| {
        attributes.push(int("ceil_mode", 1));
        let plane = shaped(&[None, Some(1), Some(size), Some(size)]);
        plane.node(op, "x", "y", attributes)
    };
    let attributes = |kernel: i64, stride: i64, pad: i64| {
        vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[pad; 4]),
        ]
    };
    let window = |file: &File| match &file.ops()[..] {
        [Op::MaxPool(window) | Op::AveragePool { window, .. }] => window.padding,
        ops => panic!("{ops:?}"),
    };
    // 5 pixels in windows of 2: the third window has one pixel.
    let five = pool("MaxPool", 5, attributes(2, 2, 0));
    assert_eq!((window(&five), five.dims()), ([0, 0, 1, 1], vec![1, 3, 3]));
    // The window after the plane is omitted, as it begins in the padding.
    let padded = pool("MaxPool", 4, attributes(2, 3, 1));
    assert_eq!((window(&padded), padded.dims()), ([1; 4], vec![1, 2, 2]));
    let fits = pool("MaxPool", 6, attributes(2, 2, 0));
    assert_eq!((window(&fits), fits.dims()), ([0; 4], vec![1, 3, 3]));
    let counts = |size, kernel, pad| {
        let mut attributes = attributes(kernel, 2, pad);
        attributes.push(int("count_include_pad", 1));
        pool("AveragePool", size, attributes)
    };
    // The last window of 5 × 5 pixels has only the last pixel, with the value 24 − 16.
    assert_eq!(counts(5, 2, 0).run()[8], 8.0);
    // Dilated windows of 2 taps cover 3 pixels, and the last one reaches 2 pixels beyond the plane.
    let mut dilated = attributes(2, 2, 1);
    dilated.push(ints("dilations", &[2; 2]));
    let dilated = pool("MaxPool", 4, dilated);
    assert_eq!((window(&dilated), dilated.dims()), ([1, 1, 2, 2], vec![1, 3, 3]));
    assert_eq!(dilated.run(), [-11.0, -9.0, -9.0, -3.0, -1.0, -1.0, -3.0, -1.0, -1.0]);
    // In a border of 1, the first window of 3 × 3 has four pixels and five zeros.
    let border = counts(4, 3, 1);
    assert!(matches!(border.ops()[0], Op::Pad(Pad { sizes: [1, 1, 1, 1], .. })));
    assert_eq!((border.dims(), border.run()[0]), (vec![1, 3, 3], -6.0));
    // The last window has one pixel and three zeros. Pixels beyond the border do not count.
    assert_eq!(border.run()[8], -0.25);
}

#[test]
fn only_planes_are_padded() {
    let pad = |pads: &[i64]| file().ints("p", pads).floats("v", &[], &[9.0]);
    let sizes = |file: File| match &file.ops()[..] {
        [Op::Pad(pad)] => (pad.sizes, pad.value),
        ops => panic!("{ops:?}"),
    };
    let all = pad(&[0, 0, 1, 2, 0, 0, 3, 4]);
    assert_eq!(sizes(all.clone().node("Pad", "x p v", "y", vec![])), ([1, 2, 3, 4], 9.0));
    assert_eq!(sizes(all.clone().node("Pad", "x p", "y", vec![])), ([1, 2, 3, 4], 0.0));
    let some = pad(&[1, 2]).ints("axes", &[-1]).opset(18);
    assert_eq!(sizes(some.node("Pad", "x p v axes", "y", vec![])), ([0, 1, 0, 2], 9.0));
    assert_eq!(pad(&[0; 8]).node("Pad", "x p", "y", vec![]).ops(), []);
    let channels = pad(&[0, 1, 0, 0, 0, 0, 0, 0]).node("Pad", "x p", "y", vec![]);
    channels.refuse(&["it pads axis 1"]);
    let negative = pad(&[0, 0, 0, 0, 0, 0, 0, -1]).node("Pad", "x p", "y", vec![]);
    negative.refuse(&["negative"]);
    all.node("Pad", "x p", "y", vec![text("mode", "reflect")]).refuse(&["`reflect`"]);
    pad(&[0; 6]).node("Pad", "x p", "y", vec![]).refuse(&["6 pads for 4 axes"]);
}

#[test]
fn planes_are_reduced_by_pools_and_means() {
    let means = |file: File| (file.dims(), file.run());
    let want = (vec![2, 1, 1], vec![-8.5, 7.5]);
    assert_eq!(means(one("GlobalAveragePool", vec![])), want);
    assert_eq!(means(one("ReduceMean", vec![ints("axes", &[2, 3])])), want);
    assert_eq!(means(one("ReduceMean", vec![ints("axes", &[-1, -2])])), want);
    let flat = vec![ints("axes", &[2, 3]), int("keepdims", 0)];
    assert_eq!(means(one("ReduceMean", flat)), (vec![2], want.1.clone()));
    let input = file().opset(18).ints("axes", &[2, 3]).node("ReduceMean", "x axes", "y", vec![]);
    assert_eq!(means(input), want);
    assert_eq!(one("GlobalMaxPool", vec![]).run(), [-1.0, 15.0]);
    assert_eq!(one("ReduceMax", vec![ints("axes", &[2, 3])]).run(), [-1.0, 15.0]);
    let lines = file().ints("s", &[0, 2, -1]).node("Reshape", "x s", "r", vec![]);
    let lines = lines.node("ReduceMean", "r", "y", vec![ints("axes", &[2])]);
    assert_eq!(means(lines), (vec![2, 1], want.1));
    one("ReduceMean", vec![ints("axes", &[3])]).refuse(&["(ReduceMean)", "[3]"]);
    one("ReduceMean", vec![ints("axes", &[4])]).refuse(&["axis 4 is outside"]);
    one("ReduceMean", vec![]).refuse(&["axes []"]);
}

#[test]
fn shapes_keep_the_batch_as_the_first_dimension() {
    let reshape = |shape: &[i64]| file().ints("s", shape).node("Reshape", "x s", "y", vec![]);
    assert_eq!(reshape(&[0, -1]).dims(), [32]);
    assert_eq!(reshape(&[-1, 32]).dims(), [32]);
    assert_eq!(reshape(&[0, 0, -1]).dims(), [2, 16]);
    assert_eq!(reshape(&[-1, 4, 8]).dims(), [4, 8]);
    assert_eq!(reshape(&[-1, 2, 4, 4]).ops(), []);
    for shape in [&[1, 32][..], &[32], &[-1], &[-1, -1], &[-1, 16], &[0, 33], &[0, 5, -1], &[]] {
        reshape(shape).refuse(&["(Reshape)", "[1, 2, 4, 4]", "the batch must stay"]);
    }
    // A fixed batch size is recognized by its number.
    let fixed = |shape: &[i64]| {
        let file = shaped(&[Some(3), Some(2), Some(4), Some(4)]);
        file.ints("s", shape).node("Reshape", "x s", "y", vec![])
    };
    assert_eq!(fixed(&[3, 32]).dims(), [32]);
    fixed(&[96]).refuse(&["the batch must stay"]);
    let keeps = file().ints("s", &[0, 32]);
    let keeps = keeps.node("Reshape", "x s", "y", vec![int("allowzero", 1)]);
    keeps.refuse(&["(Reshape)"]);
    assert_eq!(one("Flatten", vec![]).dims(), [32]);
    assert_eq!(one("Flatten", vec![int("axis", -3)]).dims(), [32]);
    one("Flatten", vec![int("axis", 2)]).refuse(&["from axis 2"]);
    one("Flatten", vec![int("axis", 4)]).refuse(&["from axis 4"]);
    one("Flatten", vec![int("axis", 5)]).refuse(&["axis 5 is outside"]);
    let squeezed = |axes: &[i64]| {
        let file = file().node("GlobalAveragePool", "x", "g", vec![]).ints("axes", axes);
        file.node("Squeeze", "g axes", "y", vec![])
    };
    assert_eq!(squeezed(&[2, -1]).dims(), [2]);
    squeezed(&[1]).refuse(&["it removes axis 1 of shape [1, 2, 1, 1]"]);
    squeezed(&[0]).refuse(&["it removes the batch dimension"]);
    one("Squeeze", vec![]).refuse(&["export it with axes"]);
    let unsqueezed =
        |axes: &[i64]| file().ints("axes", axes).node("Unsqueeze", "x axes", "y", vec![]);
    assert_eq!(unsqueezed(&[-1, 1]).dims(), [1, 2, 4, 4, 1]);
    unsqueezed(&[0]).refuse(&["before the batch"]);
    unsqueezed(&[1, 1]).refuse(&["axis 1 occurs twice"]);
    let transposed = |perm: &[i64]| {
        let file = file().node("GlobalAveragePool", "x", "g", vec![]);
        file.node("Transpose", "g", "y", vec![ints("perm", perm)])
    };
    assert_eq!(transposed(&[0, 2, 3, 1]).dims(), [1, 1, 2]);
    transposed(&[1, 0, 2, 3]).refuse(&["reorders"]);
    one("Transpose", vec![ints("perm", &[0, 1, 3, 2])]).refuse(&["[0, 1, 3, 2]"]);
}

/// The output of a slice of an image with four channels of two pixels.
fn sliced(starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]) -> Result<Vec<f32>, String> {
    let file = shaped(&[None, Some(4), Some(1), Some(2)]);
    let file = file.ints("a", starts).ints("b", ends).ints("c", axes).ints("d", steps);
    let graph = file.node("Slice", "x a b c d", "y", vec![]).import()?;
    Ok(interpret(&graph, &[0.0, f32::NAN, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0]).unwrap())
}

#[test]
fn slices_of_images_select_channels() {
    let all = i64::MAX;
    let channels = |start, end, step| sliced(&[start], &[end], &[1], &[step]).unwrap();
    assert_eq!(channels(1, 3, 1), [1.0, -1.0, 2.0, -2.0]);
    assert_eq!(channels(-1, all, 1), [3.0, -3.0]);
    assert_eq!(channels(3, 0, -2), [3.0, -3.0, 1.0, -1.0]);
    assert_eq!(channels(1, 4, 2), [1.0, -1.0, 3.0, -3.0]);
    assert_eq!(channels(all, i64::MIN, -3)[..3], [3.0, -3.0, 0.0]);
    assert!(channels(0, 1, 1)[1].is_nan());
    // Together with full ranges of other dimensions.
    let whole = sliced(&[0, 2, 0, 0], &[all, all, 1, all], &[0, -3, 2, -1], &[1; 4]);
    assert_eq!(whole.unwrap(), [2.0, -2.0, 3.0, -3.0]);
    assert_eq!(
        file()
            .ints("z", &[0])
            .ints("e", &[9])
            .node("Slice", "x z e", "y", vec![])
            .import()
            .unwrap_err(),
        "node of `y` (Slice): it takes a part of the batch, but only dimensions of the image are supported"
    );
    let refused = |start, end, axis, part: &str| {
        let error = sliced(&[start], &[end], &[axis], &[1]).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(0, 1, 0, "it takes a part of the batch");
    refused(1, all, 0, "it takes a part of the batch");
    refused(0, 1, 3, "a part of rows or columns");
    refused(2, 2, 1, "it takes no channels");
    refused(0, 1, 4, "axis 4 is outside");
    let vector = file().node("Flatten", "x", "f", vec![]).ints("s", &[30]).ints("e", &[32]);
    let vector = vector.ints("one", &[1]).node("Slice", "f s e one", "y", vec![]);
    assert_eq!((vector.dims(), vector.run()), (vec![2], vec![14.0, 15.0]));
    // More weights than the stored bytes allow.
    let wide = shaped(&[None, Some(1 << 20), Some(1), Some(1)]).ints("s", &[1]).ints("one", &[1]);
    let wide = wide.ints("e", &[i64::MAX]).node("Slice", "x s e one", "y", vec![]);
    wide.refuse(&["(Slice)", "that the stored weights allow"]);
}

#[test]
fn splits_have_an_output_for_each_part() {
    let channels = |file: File, output: &str| {
        let options = Options { output: Some(output.into()), image: None };
        let graph = file.import_with(&options)?;
        assert_eq!(graph.nodes.len(), 2, "parts that nothing reads are removed");
        Ok::<Vec<f32>, String>(interpret(&graph, &[0.0, 1.0, 2.0, 3.0, 4.0]).unwrap())
    };
    let split = |attributes: Vec<Attribute>, opset: i64, input: &str, outputs: &str| {
        let mut file = shaped(&[None, Some(5), Some(1), Some(1)]).opset(opset);
        let names = outputs.split_whitespace().filter(|name| *name != "_");
        file.graph().output =
            names.map(|name| ValueInfo { name: name.into(), r#type: None }).collect();
        file.ints("sizes", &[1, 2, 2]).node("Split", input, outputs, attributes)
    };
    let given = split(vec![int("axis", 1)], 17, "x sizes", "a b c");
    assert_eq!(channels(given.clone(), "a"), Ok(vec![0.0]));
    assert_eq!(channels(given.clone(), "b"), Ok(vec![1.0, 2.0]));
    assert_eq!(channels(given, "c"), Ok(vec![3.0, 4.0]));
    let skipped = split(vec![int("axis", -3)], 17, "x sizes", "a _ c");
    assert_eq!(channels(skipped, "c"), Ok(vec![3.0, 4.0]));
    let old = split(vec![int("axis", 1), ints("split", &[4, 1])], 11, "x", "a b");
    assert_eq!(channels(old, "b"), Ok(vec![4.0]));
    let equal = split(vec![int("axis", 1), int("num_outputs", 2)], 18, "x", "a b");
    assert_eq!(channels(equal.clone(), "a"), Ok(vec![0.0, 1.0, 2.0]));
    assert_eq!(channels(equal, "b"), Ok(vec![3.0, 4.0]));
    for (attributes, input, outputs, part) in [
        (vec![], "x", "a b", "it takes a part of the batch"),
        (vec![int("axis", 1)], "x sizes", "a b", "parts of [1, 2, 2] for 2 outputs"),
        (vec![int("axis", 2)], "x", "a b", "it takes a part of rows"),
        (vec![int("axis", 4)], "x", "a b", "axis 4 is outside"),
    ] {
        let error = channels(split(attributes, 17, input, outputs), "b").unwrap_err();
        assert!(error.contains("(Split)") && error.contains(part), "{error}");
    }
    let wrong = split(vec![int("axis", 1), ints("split", &[6, -1])], 11, "x", "a b");
    assert!(channels(wrong, "b").unwrap_err().contains("do not fit a size of 5"));
}

/// `x.view(x.size(0), -1)` and the pads of `F.pad`, as PyTorch exports them.
#[test]
fn arithmetic_of_shapes_is_folded() {
    let view = file()
        .ints("zero", &[0])
        .ints("minus", &[-1])
        .node("Shape", "x", "s", vec![])
        .node("Gather", "s zero", "g", vec![])
        .node("Concat", "g minus", "c", vec![int("axis", 0)])
        .node("Reshape", "x c", "y", vec![]);
    assert_eq!(view.ops(), [Op::Reshape(vec![32])]);
    // [batch, 2·4·4 / 8 + 4 − 0, 2·2] from parts of the shape.
    let parts = file()
        .ints("zero", &[0])
        .ints("one", &[1])
        .ints("end", &[i64::MAX])
        .ints("four", &[4])
        .ints("eight", &[8])
        .node("Shape", "x", "s", vec![])
        .node("Slice", "s one end", "hw", vec![])
        .node("Slice", "hw zero one", "c", vec![])
        .node("Slice", "s zero one", "n", vec![])
        .node("Shape", "x", "h", vec![int("start", 2), int("end", -1)])
        .node("Mul", "c h", "ch", vec![])
        .node("Mul", "ch h", "chw", vec![])
        .node("Div", "chw eight", "q", vec![])
        .node("Add", "q four", "a", vec![])
        .node("Sub", "a zero", "b", vec![])
        .node("Mul", "n one", "m", vec![])
        .node("Cast", "m", "k", vec![int("to", 7)])
        .node("Concat", "k b four", "shape", vec![int("axis", 0)])
        .node("Reshape", "x shape", "y", vec![]);
    assert_eq!(parts.dims(), [8, 4]);
    let t = Some(TensorProto { int64_data: vec![0], ..ints_of("", &[0]) });
    let zeros = Attribute { name: "value".into(), t, kind: 4, ..Attribute::default() };
    let pads = file()
        .ints("four", &[4])
        .ints("given", &[1, 2, 0, 3])
        .ints("pairs", &[-1, 2])
        .ints("minus", &[-1])
        .ints("zero", &[0])
        .ints("low", &[-i64::MAX])
        .node("ConstantOfShape", "four", "z", vec![zeros])
        .node("Concat", "given z", "c", vec![int("axis", 0)])
        .node("Reshape", "c pairs", "r", vec![])
        .node("Slice", "r minus low zero minus", "s", vec![])
        .node("Transpose", "s", "t", vec![ints("perm", &[1, 0])])
        .node("Reshape", "t minus", "p", vec![])
        .node("Pad", "x p", "y", vec![]);
    let sizes = [0, 1, 3, 2];
    assert_eq!(pads.ops(), [Op::Pad(Pad { sizes, value: 0.0 })]);
    let float = file()
        .floats("half", &[], &[2.6])
        .ints("zero", &[0])
        .node("Shape", "x", "s", vec![int("start", 1), int("end", 2)])
        .node("Cast", "s", "f", vec![int("to", 1)])
        .node("Mul", "f half", "m", vec![])
        .node("Floor", "m", "l", vec![])
        .node("Cast", "l", "i", vec![int("to", 7)])
        .ints("last", &[-1])
        .node("Concat", "zero i last", "c", vec![int("axis", 0)])
        .node("Sub", "i i", "unused", vec![])
        .node("Add", "c zero", "d", vec![])
        .node("Reshape", "x d", "y", vec![]);
    float.refuse(&["[1, 2, 4, 4] cannot be reshaped to [0, 5, -1]"]);
}

#[test]
fn arithmetic_with_the_batch_size_is_rejected() {
    let sum =
        file().ints("one", &[1]).node("Shape", "x", "s", vec![]).node("Add", "s one", "y", vec![]);
    sum.refuse(&["(Add)", "the batch size"]);
    let place = file()
        .ints("order", &[1, 0, 2, 3])
        .node("Shape", "x", "s", vec![])
        .node("Gather", "s order", "g", vec![])
        .node("Reshape", "x g", "y", vec![]);
    place.refuse(&["(Reshape)", "[2, batch, 4, 4]; the batch must stay"]);
    let float = file().node("Shape", "x", "s", vec![]).node("Cast", "s", "y", vec![int("to", 1)]);
    float.refuse(&["(Cast)", "the batch size"]);
    let constant = file().node("Shape", "x", "y", vec![]);
    constant.refuse(&["output `y` does not depend on the image"]);
}

#[test]
fn upsampling_repeats_pixels() {
    let resize = |input: &str, attributes: Vec<Attribute>| {
        file()
            .floats("scales", &[4], &[1.0, 1.0, 2.0, 3.0])
            .floats("none", &[0], &[])
            .ints("sizes", &[0, 2, 8, 12])
            .node("Resize", input, "y", attributes)
    };
    let mode = |coordinates: &str, rounding: &str| {
        vec![text("coordinate_transformation_mode", coordinates), text("nearest_mode", rounding)]
    };
    let up = [Op::Upsample { factors: [2, 3] }];
    assert_eq!(resize("x none scales", mode("asymmetric", "floor")).ops(), up);
    assert_eq!(resize("x _ scales", vec![]).ops(), up);
    let no_repeat = [("half_pixel", "floor"), ("asymmetric", "ceil"), ("align_corners", "floor")];
    for (coordinates, rounding) in no_repeat {
        resize("x _ scales", mode(coordinates, rounding)).refuse(&[coordinates, rounding]);
    }
    resize("x _ scales", vec![text("mode", "linear")]).refuse(&["`linear`"]);
    resize("x", vec![]).refuse(&["either scales or sizes"]);
    let sized = file()
        .ints("zero", &[0])
        .ints("two", &[2])
        .ints("plane", &[8, 12])
        .node("Shape", "x", "s", vec![])
        .node("Slice", "s zero two", "n", vec![])
        .node("Concat", "n plane", "sizes", vec![int("axis", 0)])
        .node("Resize", "x _ _ sizes", "y", mode("asymmetric", "floor"));
    assert_eq!(sized.ops(), up);
    let odd = file().floats("scales", &[4], &[1.0, 1.0, 1.5, 2.0]);
    odd.node("Resize", "x _ scales", "y", vec![]).refuse(&["axis 2"]);
    let axes = file().floats("scales", &[2], &[2.0, 3.0]).opset(18);
    let axes = axes.node("Resize", "x _ scales", "y", vec![ints("axes", &[2, 3])]);
    assert_eq!(axes.ops(), up);
    let same = file().floats("scales", &[4], &[1.0; 4]);
    assert_eq!(same.node("Resize", "x _ scales", "y", vec![]).ops(), []);
}

#[test]
fn softmax_runs_over_one_or_all_dimensions_by_version() {
    let softmax = |opset, attributes| one("Softmax", attributes).opset(opset);
    assert_eq!(softmax(13, vec![int("axis", 1)]).ops(), [Op::Softmax { axis: 0 }]);
    assert_eq!(softmax(13, vec![]).ops(), [Op::Softmax { axis: 2 }]);
    let all = softmax(11, vec![]);
    assert_eq!((all.dims(), all.ops().len()), (vec![2, 4, 4], 3));
    assert!((all.run().iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let lines = softmax(11, vec![int("axis", 2)]);
    assert!((lines.run().iter().sum::<f32>() - 2.0).abs() < 1e-6);
    assert_eq!(softmax(11, vec![int("axis", 3)]).ops(), [Op::Softmax { axis: 2 }]);
    softmax(13, vec![int("axis", 0)]).refuse(&["over the batch"]);
}

#[test]
fn channels_are_concatenated() {
    let concat = |input: &str, axis: i64| {
        file().floats("c", &[1], &[0.0]).node("Relu", "x", "r", vec![]).node(
            "Concat",
            input,
            "y",
            vec![int("axis", axis)],
        )
    };
    assert_eq!(concat("x r", 1).dims(), [4, 4, 4]);
    assert_eq!(concat("x r x", -3).dims(), [6, 4, 4]);
    assert_eq!(concat("x", 1).ops(), []);
    concat("x r", 2).refuse(&["along axis 2"]);
    concat("x c", 1).refuse(&["input 1 is a constant"]);
    concat("x r", 4).refuse(&["axis 4 is outside"]);
    file().node("Concat", "x", "y", vec![]).refuse(&["`axis` is missing"]);
}

#[test]
fn dropout_and_identity_are_removed() {
    let left_out = file()
        .floats("ratio", &[], &[0.5])
        .node("Dropout", "x ratio", "d mask", vec![int("seed", 1)])
        .node("Identity", "d", "i", vec![])
        .node("Cast", "i", "c", vec![int("to", 1)])
        .node("Relu", "c", "y", vec![]);
    assert_eq!(left_out.ops(), [Op::Activation(ActivationFn::Relu)]);
    let mask = file().node("Dropout", "x", "d mask", vec![]).node("Relu", "mask", "y", vec![]);
    mask.refuse(&["it reads `mask`, which is not defined before it"]);
    let trains = file().ints("on", &[1]).node("Dropout", "x _ on", "y", vec![]);
    trains.refuse(&["eval mode"]);
    one("Cast", vec![int("to", 10)]).refuse(&["it casts to F16"]);
    one("Cast", vec![int("to", 99)]).refuse(&["data type 99"]);
}

#[test]
fn the_first_unsupported_operator_is_named() {
    let mut file = one("Relu", vec![]).node("Tanh", "y", "z", vec![]).node("Erf", "z", "e", vec![]);
    // Nodes that the output does not depend on are not read.
    assert_eq!(file.ops().len(), 1);
    file.graph().output[0].name = "e".into();
    file.graph().node[1].name = "/layer/tanh".into();
    file.refuse(&["node `/layer/tanh` (Tanh): the operator is not supported", "Add, AveragePool"]);
    one("LogSoftmax", vec![]).refuse(&["(LogSoftmax)", "not supported"]);
    for quantized in ["QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"] {
        one(quantized, vec![]).refuse(&[quantized, "quantized networks are not supported"]);
    }
    let mut foreign = one("Relu", vec![]);
    foreign.graph().node[0].domain = "com.microsoft".into();
    foreign.refuse(&["`com.microsoft`", "onnx.inliner"]);
    foreign.graph().node[0].domain = "ai.onnx".into();
    foreign.import().unwrap();
}

#[test]
fn versions_inputs_and_outputs_are_checked() {
    for version in [10, 23, 0, -1] {
        one("Relu", vec![]).opset(version).refuse(&[&format!("opset {version}"), "11 to 22"]);
    }
    for version in [11, 22] {
        one("Relu", vec![]).opset(version).import().unwrap();
    }
    let mut none = one("Relu", vec![]);
    none.0.opset_import[0].domain = "ai.onnx.ml".into();
    none.refuse(&["names no opset version"]);
    let mut two = one("Relu", vec![]);
    let input = two.graph().input[0].clone();
    two.graph().input.push(ValueInfo { name: "mask".into(), ..input });
    two.refuse(&["it has 2 inputs (x, mask)"]);
    // An initializer may be listed among the inputs.
    let listed = two.floats("mask", &[1], &[1.0]);
    listed.import().unwrap();
    let mut outputs = one("Relu", vec![]).node("Sigmoid", "x", "z", vec![]);
    outputs.graph().output.push(ValueInfo { name: "z".into(), r#type: None });
    outputs.refuse(&["it has 2 outputs (y, z)", "name one in Options::output"]);
    let error = crate::read(&outputs.0.encode_to_vec(), None).unwrap_err();
    assert_eq!(error.left_open(), Some(LeftOpen::Output));
    let options = |output: &str| Options { output: Some(output.into()), image: None };
    let graph = outputs.import_with(&options("z")).unwrap();
    assert_eq!(graph.nodes[1].op, Op::Activation(ActivationFn::Sigmoid));
    assert!(outputs.import_with(&options("w")).unwrap_err().contains("no output `w`"));
    let mut none = one("Relu", vec![]);
    none.graph().output.clear();
    none.refuse(&["no output"]);
    let mut half = one("Relu", vec![]);
    if let Some(t) = &mut half.graph().input[0].r#type {
        t.tensor_type.as_mut().unwrap().elem_type = 10;
    }
    half.refuse(&["data type 10"]);
}

#[test]
fn options_set_an_open_size() {
    let relu = |dims: &[Option<i64>]| shaped(dims).node("Relu", "x", "y", vec![]);
    let options = |image| Options { image: Some(image), output: None };
    let open = relu(&[None, Some(3), None, Some(0)]);
    open.refuse(&["[?, 3, ?, ?]", "give their size in Options::image"]);
    let error = crate::read(&open.0.encode_to_vec(), None).unwrap_err();
    assert_eq!(error.left_open(), Some(LeftOpen::Image));
    assert!(error.reason().ends_with("leaves the size of images open"), "{error}");
    assert_eq!(open.import_with(&options([3, 5, 7])).unwrap().input_dims(), [3, 5, 7]);
    let error = open.import_with(&options([1, 5, 7])).unwrap_err();
    assert!(error.contains("does not match images of shape [1, 5, 7]"), "{error}");
    assert!(open.import_with(&options([3, 0, 7])).unwrap_err().contains("no pixels"));
    let mut unknown = relu(&[]);
    unknown.refuse(&["has no dimensions"]);
    if let Some(t) = &mut unknown.graph().input[0].r#type {
        t.tensor_type.as_mut().unwrap().shape = None;
    }
    assert_eq!(unknown.import_with(&options([3, 5, 7])).unwrap().input_dims(), [3, 5, 7]);
    relu(&[None, Some(3)]).refuse(&["[?, 3] instead of [batch, channels, rows, columns]"]);
    relu(&[None, Some(i64::MAX), Some(4), Some(4)]).refuse(&["too large"]);
    let mut none = one("Relu", vec![]);
    none.graph().input[0].r#type = None;
    none.refuse(&["`x` is not a tensor"]);
}

#[test]
fn hostile_graphs_are_rejected() {
    let cycle = file().node("Add", "x b", "a", vec![]).node("Relu", "a", "b", vec![]);
    cycle.node("Relu", "b", "y", vec![]).refuse(&["it reads `b`, which is not defined before it"]);
    one("Relu", vec![]).node("Relu", "x", "y", vec![]).refuse(&["have the name `y`"]);
    one("Relu", vec![]).floats("y", &[], &[0.0]).refuse(&["have the name `y`"]);
    let twice = one("Relu", vec![]).floats("a", &[], &[0.0]).floats("a", &[], &[0.0]);
    twice.refuse(&["have the name `a`"]);
    file().node("Relu", "x", "", vec![]).refuse(&["no node computes its output `y`"]);
    for size in [1_000_000_000_000, i64::MAX] {
        let zeros = file().ints("n", &[size]).node("ConstantOfShape", "n", "z", vec![]).node(
            "Add",
            "x z",
            "y",
            vec![],
        );
        zeros.refuse(&["(ConstantOfShape)", "that the stored weights allow"]);
    }
    let negative = file().ints("n", &[-1]).node("ConstantOfShape", "n", "y", vec![]);
    negative.refuse(&["the negative size -1"]);
    let mut sparse = file().node("Conv", "x w", "y", vec![]);
    sparse.graph().sparse_initializer.push(SparseTensor {
        values: Some(floats_of("w", &[0], &[])),
        indices: Some(ints_of("", &[])),
        dims: vec![1_000_000, 2, 300, 300],
    });
    sparse.refuse(&["tensor w: a constant of shape [1000000, 2, 300, 300] is larger"]);
    sparse.graph().sparse_initializer[0].dims = vec![1000, 2, 3, 3];
    assert_eq!(sparse.dims(), [1000, 2, 2]);
    let many = file().ints("n", &vec![0; 2000]).node("Reshape", "x n", "y", vec![]);
    many.refuse(&["tensor n", "shapes have at most 1024"]);
    let long = file().floats("n", &[1; 20], &[0.0]).node("Add", "x n", "y", vec![]);
    long.refuse(&["20 dimensions, more than 8"]);
    // Each step doubles the size of a constant.
    let mut doubled = file().floats("c0", &[1], &[0.0]);
    for i in 0..60 {
        let input = format!("c{i} c{i}");
        doubled = doubled.node("Concat", &input, &format!("c{}", i + 1), vec![int("axis", 0)]);
    }
    doubled.node("Add", "x c60", "y", vec![]).refuse(&["that the stored weights allow"]);
    let overflow = file()
        .ints("n", &[i64::MIN])
        .ints("m", &[-1])
        .node("Div", "n m", "d", vec![])
        .node("Reshape", "x d", "y", vec![]);
    overflow.refuse(&["not an integer of 64 bits"]);
    let wide = file().ints("p", &[0, 0, 0, 0, 0, 0, 1 << 20, 1 << 20]);
    wide.node("Pad", "x p", "y", vec![]).refuse(&["(Pad)", "[2, 1048580, 1048580]", "too large"]);
    let step = file().ints("n", &[0]).node("Slice", "n n n n n", "y", vec![]);
    step.refuse(&["its step is 0"]);
}

#[test]
fn metadata_are_kept() {
    let mut file = one("Relu", vec![]);
    file.0
        .metadata_props
        .push(StringStringEntryProto { key: "classes".into(), value: "10".into() });
    assert_eq!(file.import().unwrap().metadata["classes"], "10");
}

#[test]
fn weights_in_another_file_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let mut file = file().floats("w", &[1, 2, 1, 1], &[]).node("Conv", "x w", "y", vec![]);
    let weight = &mut file.graph().initializer[0];
    weight.data_location = 1;
    weight.external_data = vec![entry("location", "w.data"), entry("offset", "4")];
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, file.0.encode_to_vec()).unwrap();
    let data: Vec<u8> = [9f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("w.data"), data).unwrap();
    assert_eq!(crate::open(&path).unwrap().tensors["w"].values(), [1.0, 2.0]);
    // The folder of bytes is unknown.
    file.refuse(&["tensor w: its data are in another file, whose folder is unknown"]);
    std::fs::remove_file(folder.path().join("w.data")).unwrap();
    let error = crate::open(&path).unwrap_err().to_string();
    assert!(error.contains("net.onnx: its data are in `w.data`"), "{error}");
}

#[test]
fn a_path_is_named_in_messages() {
    let error = crate::open("nowhere/net.onnx").unwrap_err().to_string();
    assert!(error.starts_with("cannot read nowhere/net.onnx: "), "{error}");
    assert!(crate::read(b"text", None).unwrap_err().to_string().contains("not an ONNX file"));
    assert!(crate::read(&[], None).unwrap_err().to_string().contains("it has no graph"));
}

/// A file with most features of the importer.
fn rich() -> File {
    let weights: Vec<f32> = (0..36).map(|i| i as f32).collect();
    file()
        .floats("w", &[2, 2, 3, 3], &weights)
        .floats("c", &[1, 2, 1, 1], &[1.0, 2.0])
        .floats("t", &[32, 2], &[0.5; 64])
        .ints("zero", &[0])
        .ints("minus", &[-1])
        .node("Conv", "x w", "a", vec![ints("pads", &[1; 4]), int("group", 1)])
        .node("Add", "a c", "b", vec![])
        .node("MaxPool", "b", "p", vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)])
        .node("Sigmoid", "b", "s", vec![])
        .node("Mul", "b s", "m", vec![])
        .node("Shape", "m", "n", vec![])
        .node("Gather", "n zero", "g", vec![])
        .node("Concat", "g minus", "v", vec![int("axis", 0)])
        .node("Reshape", "m v", "r", vec![])
        .node("Gemm", "r t", "y", vec![float("alpha", 0.5)])
}

proptest! {
    #[test]
    fn damage_is_an_error_or_a_valid_graph(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = rich().0.encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(graph) = crate::read(&bytes, None) {
            prop_assert!(graph.check().is_ok());
        }
    }
}
