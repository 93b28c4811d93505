//! Each operation on small values that were computed by hand.

use crate::{
    ActivationFn, Conv, Fused, Graph, GraphError, Norm, Op, Pad, Tensor, Window, interpret,
};

fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(dims, values.to_vec()).unwrap()
}

/// The value of one operation on an image.
fn value(op: Op, dims: &[usize], tensors: &[(&str, Tensor)], image: &[f32]) -> Vec<f32> {
    let mut graph = Graph::new(dims);
    tensors.iter().for_each(|(name, t)| graph.add_tensor(*name, t.clone()));
    graph.output = graph.push(op, &[0]).unwrap();
    interpret(&graph, image).unwrap()
}

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

#[test]
fn convolutions_sum_windows_with_stride_padding_and_dilation() {
    let image: Vec<f32> = (1..=9).map(|x| x as f32).collect();
    let weight = [("w", tensor(&[1, 1, 2, 2], &[1.0, 10.0, 100.0, 1000.0]))];
    let window = Window { kernel: [2, 2], stride: [1, 2], padding: [1, 0, 0, 1], dilation: [2, 1] };
    // Rows −1 and 1, then 0 and 2; columns 0 and 1, then 2 and 3.
    let conv = Conv::new("w", window);
    assert_eq!(value(Op::Conv(conv), &[1, 3, 3], &weight, &image), [5400.0, 600.0, 8721.0, 903.0]);
}

#[test]
fn groups_of_a_convolution_read_their_own_channels() {
    let tensors = [
        ("w", tensor(&[4, 1, 1, 1], &[1.0, 2.0, 3.0, 4.0])),
        ("b", tensor(&[4], &[0.5, 0.0, 0.0, -1.0])),
    ];
    let mut conv = Conv::new("w", Window::square(1, 1, 0));
    conv.groups = 2;
    conv.bias = Some("b".into());
    assert_eq!(value(Op::Conv(conv), &[2, 1, 1], &tensors, &[1.0, 10.0]), [1.5, 2.0, 30.0, 39.0]);
}

#[test]
fn a_weight_of_0_is_skipped() {
    let tensors = [("w", tensor(&[2, 2], &[0.0, 1.0, 1.0, 1.0]))];
    let linear = Op::Linear { weight: "w".into(), bias: None };
    let out = value(linear, &[2], &tensors, &[NAN, 2.0]);
    assert_eq!(out[0], 2.0);
    assert!(out[1].is_nan());
    let tensors = [("w", tensor(&[1, 1, 1, 2], &[0.0, 1.0]))];
    let window = Window { kernel: [1, 2], ..Window::square(1, 1, 0) };
    let conv = Op::Conv(Conv::new("w", window));
    assert_eq!(value(conv, &[1, 1, 3], &tensors, &[INF, 1.0, 2.0]), [1.0, 2.0]);
}

#[test]
fn linear_layers_add_a_bias() {
    let tensors = [("w", tensor(&[1, 2], &[3.0, 4.0])), ("b", tensor(&[1], &[0.5]))];
    let linear = Op::Linear { weight: "w".into(), bias: Some("b".into()) };
    assert_eq!(value(linear, &[2], &tensors, &[1.0, 2.0]), [11.5]);
}

#[test]
fn batch_norm_scales_and_shifts_channels() {
    let tensors = [
        ("g", tensor(&[2], &[4.0, 0.0])),
        ("b", tensor(&[2], &[1.0, 7.0])),
        ("m", tensor(&[2], &[0.5, INF])),
        ("v", tensor(&[2], &[3.0, 1.0])),
    ];
    let [weight, bias, mean, var] = ["g", "b", "m", "v"].map(String::from);
    let norm = Op::Norm(Norm { weight, bias, mean, var, eps: 1.0 });
    assert_eq!(value(norm, &[2, 1, 1], &tensors, &[2.5, NAN]), [5.0, 7.0]);
}

#[test]
fn activations_at_their_breakpoints() {
    let x = [-INF, -4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 7.0, INF];
    let of = |activation| value(Op::Activation(activation), &[9], &[], &x);
    assert_eq!(of(ActivationFn::Relu), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 7.0, INF]);
    assert_eq!(of(ActivationFn::RELU6), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 6.0, 6.0]);
    let reversed = of(ActivationFn::Clip { min: 2.0, max: 1.0 });
    assert_eq!(reversed, [1.0; 9], "the largest value wins");
    assert_eq!(
        of(ActivationFn::LeakyRelu { slope: 0.5 }),
        [-INF, -2.0, -1.5, -0.5, 0.0, 1.0, 3.0, 7.0, INF]
    );
    let sigmoid = of(ActivationFn::Sigmoid);
    assert_eq!([sigmoid[0], sigmoid[4], sigmoid[8]], [0.0, 0.5, 1.0]);
    assert!((sigmoid[5] - 0.731_058_6).abs() < 1e-7);
    let hard = of(ActivationFn::HardSigmoid { alpha: 0.25, beta: 0.5 });
    assert_eq!(hard, [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    let silu = of(ActivationFn::Silu);
    assert!((silu[3] + 0.268_941_4).abs() < 1e-7 && silu[8] == INF);
    let swish = of(ActivationFn::HardSwish);
    assert!(swish[0].is_nan(), "−∞ times 0");
    assert_eq!(swish[1..6], [0.0, 0.0, -1.0 / 3.0, 0.0, 2.0 / 3.0]);
    assert_eq!(swish[6..], [3.0, 7.0, INF]);
}

#[test]
fn activations_keep_nan() {
    for activation in [
        ActivationFn::Relu,
        ActivationFn::RELU6,
        ActivationFn::LeakyRelu { slope: 0.1 },
        ActivationFn::Sigmoid,
        ActivationFn::HardSigmoid { alpha: 0.2, beta: 0.5 },
        ActivationFn::Silu,
        ActivationFn::HardSwish,
    ] {
        assert!(value(Op::Activation(activation), &[1], &[], &[NAN])[0].is_nan());
    }
}

#[test]
fn sums_and_products_broadcast_sizes_of_1() {
    let mut graph = Graph::new(&[2, 1, 2]);
    graph.add_tensor("c", tensor(&[1, 2, 1], &[10.0, 100.0]));
    let constant = graph.push(Op::Constant("c".into()), &[]).unwrap();
    graph.output = graph.push(Op::Add, &[0, constant]).unwrap();
    let image = [1.0, 2.0, 3.0, 4.0];
    let sum = [11.0, 12.0, 101.0, 102.0, 13.0, 14.0, 103.0, 104.0];
    assert_eq!(interpret(&graph, &image).unwrap(), sum);
    graph.output = graph.push(Op::Multiply, &[constant, 0]).unwrap();
    let product = [10.0, 20.0, 100.0, 200.0, 30.0, 40.0, 300.0, 400.0];
    assert_eq!(interpret(&graph, &image).unwrap(), product);
}

#[test]
fn concat_appends_channels() {
    let mut graph = Graph::new(&[1, 1, 2]);
    graph.add_tensor("c", tensor(&[2, 1, 2], &[3.0, 4.0, 5.0, 6.0]));
    let constant = graph.push(Op::Constant("c".into()), &[]).unwrap();
    graph.output = graph.push(Op::Concat, &[constant, 0]).unwrap();
    assert_eq!(interpret(&graph, &[1.0, 2.0]).unwrap(), [3.0, 4.0, 5.0, 6.0, 1.0, 2.0]);
}

#[test]
fn pad_and_upsample() {
    let pad = Op::Pad(Pad { sizes: [1, 0, 0, 2], value: 9.0 });
    assert_eq!(value(pad, &[1, 1, 1], &[], &[1.0]), [9.0, 9.0, 9.0, 1.0, 9.0, 9.0]);
    let upsample = Op::Upsample { factors: [2, 1] };
    let image = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(value(upsample, &[1, 2, 2], &[], &image), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
    let upsample = Op::Upsample { factors: [1, 2] };
    assert_eq!(value(upsample, &[2, 1, 2], &[], &image), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
}

#[test]
fn a_maximum_ignores_padding() {
    let window = Window { stride: [1, 2], padding: [0, 1, 0, 0], ..Window::square(2, 1, 0) };
    let image = [-1.0, -2.0, -3.0, -4.0, NAN, -6.0];
    let out = value(Op::MaxPool(window), &[1, 2, 3], &[], &image);
    assert_eq!(out[0], -1.0);
    assert!(out[1].is_nan());
}

#[test]
fn means_include_padding_if_it_counts() {
    let window = Window { stride: [2, 2], padding: [1; 4], ..Window::square(2, 1, 0) };
    let image = [4.0, 8.0, 12.0, 16.0];
    let of =
        |counts_padding| value(Op::AveragePool { window, counts_padding }, &[1, 2, 2], &[], &image);
    assert_eq!(of(true), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(of(false), image);
}

#[test]
fn windows_that_cover_padding_only_have_no_largest_pixel_and_no_mean() {
    let window = Window { padding: [1, 0, 1, 0], dilation: [2, 1], kernel: [2, 1], stride: [1, 1] };
    assert_eq!(value(Op::MaxPool(window), &[1, 1, 1], &[], &[5.0]), [-INF]);
    let mean = Op::AveragePool { window, counts_padding: false };
    assert!(value(mean, &[1, 1, 1], &[], &[5.0])[0].is_nan());
    let mean = Op::AveragePool { window, counts_padding: true };
    assert_eq!(value(mean, &[1, 1, 1], &[], &[5.0]), [0.0]);
}

#[test]
fn windows_much_larger_than_the_plane_take_no_time() {
    let size = 1 << 40;
    let window = Window {
        kernel: [size, size],
        stride: [1, 1],
        padding: [size - 1, 0, 0, size - 1],
        dilation: [1, 1],
    };
    assert_eq!(value(Op::MaxPool(window), &[1, 1, 1], &[], &[5.0]), [5.0]);
    let window =
        Window { kernel: [1, 2], stride: [1, 1], padding: [0, 1, 0, 1], dilation: [usize::MAX, 3] };
    assert_eq!(value(Op::MaxPool(window), &[1, 1, 3], &[], &[1.0, 2.0, 3.0]), [3.0, 1.0]);
}

#[test]
fn global_pools() {
    let image = [1.0, 3.0, -5.0, -7.0];
    assert_eq!(value(Op::GlobalAverage, &[2, 1, 2], &[], &image), [2.0, -6.0]);
    assert_eq!(value(Op::GlobalMax, &[2, 1, 2], &[], &image), [3.0, -5.0]);
    assert!(value(Op::GlobalMax, &[1, 1, 2], &[], &[NAN, 1.0])[0].is_nan());
}

#[test]
fn softmax_goes_along_its_axis_and_does_not_overflow() {
    let third = [0.0, 1.098_612_3]; // ln 1 and ln 3.
    let image = [third[0], 1000.0, third[1], 1000.0];
    let out = value(Op::Softmax { axis: 0 }, &[2, 2], &[], &image);
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(&out, &[0.25, 0.5, 0.75, 0.5]), "{out:?}");
    let out = value(Op::Softmax { axis: 1 }, &[2, 2], &[], &[0.0, 0.0, third[0], third[1]]);
    assert!(close(&out, &[0.5, 0.5, 0.25, 0.75]), "{out:?}");
}

#[test]
fn fused_convolutions_add_bias_and_residual_before_the_activation() {
    let mut graph = Graph::new(&[1, 1, 2]);
    graph.add_tensor("a", tensor(&[1, 1, 1, 1], &[2.0]));
    graph.add_tensor("b", tensor(&[1, 1, 1, 1], &[-3.0]));
    graph.add_tensor("pixels", tensor(&[1, 1, 2], &[0.25, 0.5]));
    graph.add_tensor("channels", tensor(&[1], &[0.125]));
    let convs = ["a", "b"].map(|name| Conv::new(name, Window::square(1, 1, 0))).to_vec();
    let bias = Some("pixels".to_string());
    let mut fused = Fused { convs, bias, residual: true, activation: Some(ActivationFn::Relu) };
    graph.output = graph.push(Op::Fused(fused.clone()), &[0, 0, 0]).unwrap();
    assert_eq!(interpret(&graph, &[1.0, 2.0]).unwrap(), [0.25, 0.5]);
    fused.residual = false;
    fused.bias = Some("channels".into());
    fused.activation = None;
    graph.output = graph.push(Op::Fused(fused), &[0, 0]).unwrap();
    assert_eq!(interpret(&graph, &[1.0, 2.0]).unwrap(), [-0.875, -1.875]);
}

#[test]
fn images_are_consecutive() {
    let mut graph = Graph::new(&[1, 1, 2]);
    graph.output = graph.push(Op::GlobalMax, &[0]).unwrap();
    assert_eq!(interpret(&graph, &[1.0, 2.0, 4.0, 3.0, 5.0, 6.0]).unwrap(), [2.0, 4.0, 6.0]);
    assert_eq!(interpret(&graph, &[]).unwrap(), [0.0; 0]);
    let message = interpret(&graph, &[1.0; 3]).unwrap_err().to_string();
    assert_eq!(message, "3 values are not a whole number of images of shape [1, 1, 2]");
}

#[test]
fn an_invalid_graph_is_an_error() -> Result<(), GraphError> {
    let mut graph = Graph::new(&[1, 1, 2]);
    graph.output = graph.push(Op::GlobalMax, &[0])?;
    let valid = graph.clone();
    let broken = |change: &dyn Fn(&mut Graph)| {
        let mut graph = valid.clone();
        change(&mut graph);
        interpret(&graph, &[1.0, 2.0]).unwrap_err().to_string()
    };
    let shape = broken(&|g| g.nodes[1].dims = vec![2, 1, 1]);
    assert_eq!(shape, "node 1 (global max pool): its shape is [2, 1, 1] instead of [1, 1, 1]");
    assert_eq!(broken(&|g| g.output = 2), "the output is node 2 of 2 nodes");
    let named = broken(&|g| {
        g.nodes[1].name = "top".into();
        g.nodes[1].inputs = vec![];
    });
    assert_eq!(named, "node `top` (global max pool): it has 0 inputs instead of 1");
    assert!(broken(&|g| g.nodes.clear()).contains("no input"));
    assert!(broken(&|g| g.nodes[0].op = Op::Add).contains("not the input"));
    assert!(broken(&|g| g.nodes[1].inputs = vec![1]).contains("does not come before it"));
    assert!(broken(&|g| g.nodes[0].dims = vec![usize::MAX; 3]).contains("too large"));
    Ok(())
}
