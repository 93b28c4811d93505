//! The ONNX operator of each operation of a graph.

use super::parts::{float, floats, int, integers, ints, scalar};
use crate::ExportError;
use taper_graph::{ActivationFn, Op, Pad, Window};
use taper_onnx::proto::{Attribute, TensorProto};

/// An ONNX node, apart from the values and tensors that it reads.
pub(super) struct Operator {
    pub(super) op_type: &'static str,
    pub(super) attributes: Vec<Attribute>,
    /// Further inputs after these: a name and a value for each; `None` for an omitted input.
    pub(super) constants: Vec<(&'static str, Option<TensorProto>)>,
}

/// The operator of an operation.
///
/// # Errors
/// If opset 17 has no such operator.
pub(super) fn operator(op: &Op) -> Result<Operator, ExportError> {
    let mut constants = Vec::new();
    let (op_type, attributes) = match op {
        // The writer makes no nodes for these.
        Op::Input | Op::Constant(_) => ("Identity", Vec::new()),
        Op::Conv(conv) => {
            let [kernel, pads, strides] = windows(&conv.window);
            let dilations = ints("dilations", &conv.window.dilation);
            let group = int("group", conv.groups as i64);
            ("Conv", vec![dilations, group, kernel, pads, strides])
        }
        Op::Linear { .. } => ("Gemm", vec![int("transB", 1)]),
        Op::Norm(norm) => ("BatchNormalization", vec![float("epsilon", norm.eps as f32)]),
        Op::Activation(function) => match *function {
            ActivationFn::Relu => ("Relu", Vec::new()),
            ActivationFn::Clip { min, max } => {
                constants.extend([("min", Some(scalar(min))), ("max", Some(scalar(max)))]);
                ("Clip", Vec::new())
            }
            ActivationFn::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", slope)]),
            ActivationFn::Sigmoid => ("Sigmoid", Vec::new()),
            ActivationFn::HardSigmoid { alpha, beta } => {
                ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)])
            }
            // The writer multiplies the value by its sigmoid.
            ActivationFn::Silu => ("Mul", Vec::new()),
            ActivationFn::HardSwish => ("HardSwish", Vec::new()),
        },
        Op::Add => ("Add", Vec::new()),
        Op::Multiply => ("Mul", Vec::new()),
        Op::Concat => ("Concat", vec![int("axis", 1)]),
        Op::Pad(Pad { sizes: [top, left, bottom, right], value }) => {
            let sizes = integers(&[0, 0, *top, *left, 0, 0, *bottom, *right]);
            constants.extend([("pads", Some(sizes)), ("value", Some(scalar(*value)))]);
            ("Pad", Vec::new())
        }
        Op::MaxPool(window) => {
            expect_small_padding(window)?;
            let mut attributes = windows(window).to_vec();
            if window.dilation != [1; 2] {
                attributes.insert(0, ints("dilations", &window.dilation));
            }
            ("MaxPool", attributes)
        }
        Op::AveragePool { window, counts_padding } => {
            if window.dilation != [1; 2] {
                let message = "ONNX opset 17 has no average pooling with dilation; use dilation 1";
                return Err(ExportError::Impossible(message.into()));
            }
            expect_small_padding(window)?;
            let [kernel, pads, strides] = windows(window);
            let attributes = match window.padding {
                [0, 0, 0, 0] => vec![kernel, strides],
                _ => {
                    let counts = int("count_include_pad", (*counts_padding).into());
                    vec![counts, kernel, pads, strides]
                }
            };
            ("AveragePool", attributes)
        }
        Op::GlobalAverage => ("GlobalAveragePool", Vec::new()),
        Op::GlobalMax => ("GlobalMaxPool", Vec::new()),
        Op::Reshape(dims) if dims.len() == 1 => ("Flatten", vec![int("axis", 1)]),
        Op::Reshape(dims) => {
            if dims.contains(&0) {
                let message = format!(
                    "ONNX cannot reshape to {dims:?}: a size of 0 copies the size of the input"
                );
                return Err(ExportError::Impossible(message));
            }
            // 0 copies the batch size of the input.
            let sizes: Vec<usize> = std::iter::once(0).chain(dims.iter().copied()).collect();
            constants.push(("shape", Some(integers(&sizes))));
            ("Reshape", Vec::new())
        }
        Op::Softmax { axis } => ("Softmax", vec![int("axis", *axis as i64 + 1)]),
        Op::Upsample { factors: [down, across] } => {
            // The default modes, half_pixel and nearest, repeat each pixel if the factors are whole.
            let scales = floats(&[1.0, 1.0, *down as f32, *across as f32]);
            constants.extend([("roi", None), ("scales", Some(scales))]);
            ("Resize", Vec::new())
        }
        Op::Fused(_) => {
            let message = "ONNX has no fused convolutions; export the network before fusing";
            return Err(ExportError::Impossible(message.into()));
        }
    };
    Ok(Operator { op_type, attributes, constants })
}

/// Runtimes reject pooling with more padding than windows can cover without dilation.
fn expect_small_padding(window: &Window) -> Result<(), ExportError> {
    let is_small = |i: usize| window.padding[i] < window.kernel[i % 2].max(1);
    match (0..4).all(is_small) {
        true => Ok(()),
        false => Err(ExportError::Impossible(format!(
            "ONNX runtimes reject pooling with padding {:?} for windows of {:?}; reduce the dilation or the padding",
            window.padding, window.kernel
        ))),
    }
}

/// `kernel_shape`, `pads` and `strides`.
fn windows(window: &Window) -> [Attribute; 3] {
    [
        ints("kernel_shape", &window.kernel),
        ints("pads", &window.padding),
        ints("strides", &window.stride),
    ]
}
