//! Compares operators with onnxruntime, interpreted and compiled, on infinity, NaN and numbers of all magnitudes.
//! Skipped with a message if Python or onnxruntime is missing.

#[path = "../../../tests/support/python.rs"]
mod python;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};
use taper_graph::interpret;
use taper_infer::{Engine, Options};
use taper_onnx::proto::{
    Dimension, FLOAT, GraphProto, Message, ModelProto, NodeProto, OperatorSet, Shape, TensorProto,
    TensorType, Type, ValueInfo,
};

/// Channels, rows and columns.
const DIMS: [i64; 3] = [3, 4, 9];

/// A node that reads the image, then constants. An empty name omits an input.
struct Case {
    operator: &'static str,
    constants: &'static [Constant],
    /// Largest relative difference.
    tolerance: f32,
}

/// A name, a shape and values.
type Constant = (&'static str, &'static [i64], &'static [f32]);

const fn exact(operator: &'static str, constants: &'static [Constant]) -> Case {
    Case { operator, constants, tolerance: 0.0 }
}

const CASES: &[Case] = &[
    exact("Clip", &[]),
    exact("Clip", &[("min", &[], &[-1.0])]),
    exact("Clip", &[("", &[], &[]), ("max", &[], &[2.0])]),
    exact("Clip", &[("min", &[], &[-1.0]), ("max", &[], &[2.0])]),
    exact("Clip", &[("min", &[], &[3.0]), ("max", &[], &[2.0])]),
    exact("Clip", &[("min", &[], &[f32::NEG_INFINITY]), ("max", &[], &[f32::INFINITY])]),
    exact("Max", &[("c", &[], &[0.5])]),
    exact("Min", &[("c", &[1, 1], &[0.5])]),
    exact("Neg", &[]),
    exact("PRelu", &[("slope", &[1], &[0.25])]),
    exact("PRelu", &[("slope", &[1, 1, 1], &[-0.5])]),
    exact("PRelu", &[("slope", &[3, 1, 1], &[0.25, -2.0, 1.5])]),
];

impl Case {
    fn file(&self) -> Vec<u8> {
        let dim = |value: i64| Dimension { dim_value: Some(value), dim_param: None };
        let shape = Some(Shape { dim: [1].into_iter().chain(DIMS).map(dim).collect() });
        let r#type = Some(Type { tensor_type: Some(TensorType { elem_type: FLOAT, shape }) });
        let value = |name: &str| ValueInfo { name: name.into(), r#type: r#type.clone() };
        let given = self.constants.iter().filter(|(name, ..)| !name.is_empty());
        let tensor = |&(name, dims, values): &Constant| TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: FLOAT,
            float_data: values.to_vec(),
            ..TensorProto::default()
        };
        let names = self.constants.iter().map(|(name, ..)| String::from(*name));
        let node = NodeProto {
            input: std::iter::once("x".into()).chain(names).collect(),
            output: vec!["y".into()],
            op_type: self.operator.into(),
            ..NodeProto::default()
        };
        let graph = GraphProto {
            name: "case".into(),
            node: vec![node],
            initializer: given.map(tensor).collect(),
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
        let model =
            ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() };
        model.encode_to_vec()
    }
}

fn image() -> Vec<f32> {
    let special = [f32::NEG_INFINITY, f32::MIN, -2.5, -0.0, 0.0, 0.75, f32::MAX, f32::INFINITY];
    let n = DIMS.iter().product::<i64>() as usize;
    // Each special value in many columns, and NaN in some.
    let value = |i: usize| match i % 10 {
        8 => f32::NAN,
        9 => (i as f32 - 50.0) / 7.0,
        at => special[at],
    };
    (0..n).map(value).collect()
}

fn numbers(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).expect("a file");
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn operators_agree_with_onnxruntime_on_values_of_all_kinds() {
    let Some(python) = python::python("numpy, onnxruntime") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: String| folder.path().join(name);
    let image = image();
    let bytes: Vec<u8> = image.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(path("images".into()), bytes).expect("a file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compiled.py");
    let mut command = Command::new(python);
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Python");
    let mut input = child.stdin.take().expect("an input");
    for (i, case) in CASES.iter().enumerate() {
        fs::write(path(format!("{i}.onnx")), case.file()).expect("a file");
        let [network, images, results] =
            [format!("{i}.onnx"), "images".into(), format!("{i}.results")].map(path);
        let shape = [1, DIMS[0], DIMS[1], DIMS[2]];
        writeln!(
            input,
            r#"{{"network": {network:?}, "images": {images:?}, "shape": {shape:?}, "results": {results:?}}}"#
        )
        .expect("it reads");
    }
    drop(input);
    let said = child.wait_with_output().expect("it ends");
    assert!(said.status.success(), "its error output is above");
    for (i, case) in CASES.iter().enumerate() {
        let what = format!("{} {:?}", case.operator, case.constants);
        let want = numbers(&path(format!("{i}.results")));
        let graph = taper_onnx::open(path(format!("{i}.onnx"))).expect("a file of ours");
        let engine = Engine::compile(&graph, &Options::default()).expect("a graph of ours");
        let found = [interpret(&graph, &image), Ok(engine.run(&image).expect("an image"))];
        for (found, by) in found.into_iter().zip(["interpreter", "engine"]) {
            let found = found.expect("an image");
            assert_eq!(found.len(), want.len(), "{what}");
            for (at, (found, want)) in found.iter().zip(&want).enumerate() {
                let is_near = (found - want).abs() <= case.tolerance * want.abs();
                let is_same = found == want || is_near || found.is_nan() && want.is_nan();
                assert!(is_same, "{what}, {by}: {found:e} instead of {want:e} for {}", image[at]);
            }
        }
    }
}
