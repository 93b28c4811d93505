//! Dead-channel elimination on small graphs.

use super::*;
use crate::passes::tests::{constant, conv, norm, ops, passed, push, put, relu, values};

fn dims(graph: &Graph, name: &str) -> Vec<usize> {
    graph.tensor(name).unwrap().dims().to_vec()
}

/// A convolution of a 3 × 3 image to two channels and a ReLU. The second channel is the constant 2.
fn half_constant() -> (Graph, usize) {
    let mut graph = Graph::new(&[1, 3, 3]);
    let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 0.0], &[0.0, 2.0]);
    let x = relu(&mut graph, x);
    (graph, x)
}

#[test]
fn a_constant_channel_becomes_a_bias_of_each_pixel_where_padding_differs() {
    let (mut graph, x) = half_constant();
    let weight: Vec<f32> = (0..18).map(|i| if i < 9 { 3.0 } else { 0.5 }).collect();
    graph.output = conv(&mut graph, "b", x, [1, 2, 3, 3], &weight, &[10.0]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(dims(&passed, "a.weight"), [1, 1, 1, 1]);
    assert_eq!(dims(&passed, "b.weight"), [1, 1, 3, 3]);
    assert_eq!(dims(&passed, "b.bias"), [1, 3, 3]);
    assert_eq!(values(&passed, "b.bias"), [14.0, 16.0, 14.0, 16.0, 19.0, 16.0, 14.0, 16.0, 14.0]);
}

#[test]
fn a_constant_channel_becomes_a_bias_of_channels_where_no_border_differs() {
    let (mut graph, x) = half_constant();
    graph.output = conv(&mut graph, "b", x, [2, 2, 1, 1], &[1.0, 3.0, 1.0, 4.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(values(&passed, "b.weight"), [1.0, 1.0]);
    assert_eq!(values(&passed, "b.bias"), [6.0, 8.0]);
}

#[test]
fn an_activation_clips_a_constant_first() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 0.0], &[0.0, -2.0]);
    let x = relu(&mut graph, x);
    graph.output = conv(&mut graph, "b", x, [1, 2, 1, 1], &[1.0, 3.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(dims(&passed, "b.weight"), [1, 1, 1, 1]);
    assert!(!passed.tensors.contains_key("b.bias"));
}

#[test]
fn a_channel_that_a_batch_norm_multiplies_by_zero_is_constant() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 2.0], &[]);
    let x = norm(&mut graph, x, &[1.0, 0.0], &[0.5, 3.0]);
    let x = relu(&mut graph, x);
    graph.output = conv(&mut graph, "b", x, [1, 2, 1, 1], &[1.0, 2.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(dims(&passed, "a.weight"), [1, 1, 1, 1]);
    assert_eq!(values(&passed, "b.weight"), [1.0]);
    assert_eq!(values(&passed, "b.bias"), [6.0]);
}

#[test]
fn channels_that_nothing_reads_are_removed_through_channelwise_operations() {
    let mut graph = Graph::new(&[1, 4, 4]);
    let x = conv(&mut graph, "a", 0, [3, 1, 1, 1], &[1.0, 2.0, 3.0], &[]);
    let x = norm(&mut graph, x, &[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]);
    let x = push(&mut graph, Op::MaxPool(crate::Window::square(2, 2, 0)), &[x]);
    let x = push(&mut graph, Op::Upsample { factors: [2, 2] }, &[x]);
    let x = push(&mut graph, Op::GlobalAverage, &[x]);
    let x = push(&mut graph, Op::Reshape(vec![3]), &[x]);
    put(&mut graph, "b", &[1, 3], &[1.0, 0.0, 1.0]);
    graph.output = push(&mut graph, Op::Linear { weight: "b".into(), bias: None }, &[x]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(values(&passed, "a.weight"), [1.0, 3.0]);
    assert_eq!(values(&passed, "norm.bias"), [4.0, 6.0]);
    assert_eq!(values(&passed, "b"), [1.0, 1.0]);
    assert!(passed.nodes[1..passed.output].iter().all(|node| node.dims[0] == 2));
}

#[test]
fn a_dead_channel_is_a_range_of_features_after_a_reshape_to_a_vector() {
    let mut graph = Graph::new(&[1, 1, 2]);
    let x = conv(&mut graph, "a", 0, [3, 1, 1, 1], &[1.0, 0.0, 3.0], &[0.0, 7.0, 0.0]);
    let x = push(&mut graph, Op::Reshape(vec![6]), &[x]);
    put(&mut graph, "b", &[1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    graph.output = push(&mut graph, Op::Linear { weight: "b".into(), bias: None }, &[x]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(values(&passed, "b"), [1.0, 2.0, 5.0, 6.0]);
    assert_eq!(values(&passed, "b.bias"), [49.0]);
}

#[test]
fn channels_that_a_reshape_joins_are_removed_together() {
    let reshaped = |dims: [usize; 2], into: [usize; 2]| {
        let mut graph = Graph::new(&[1, dims[1], 1]);
        let weight: Vec<f32> = (1..=dims[0]).map(|i| i as f32).collect();
        let x = conv(&mut graph, "a", 0, [dims[0], 1, 1, 1], &weight, &[]);
        let x = push(&mut graph, Op::Reshape(vec![into[0], into[1], 1]), &[x]);
        let mut reads = vec![0.0; into[0]];
        reads[0] = 1.0;
        graph.output = conv(&mut graph, "b", x, [1, into[0], 1, 1], &reads, &[]);
        values(&passed(drop_dead, &graph), "a.weight").to_vec()
    };
    assert_eq!(reshaped([4, 1], [2, 2]), [1.0, 2.0]);
    assert_eq!(reshaped([2, 4], [4, 2]), [1.0]);
    // Element 2 of 6 is in channel 0 of the input and channel 1 of the output; element 3 is in input channel 1 and
    // output channel 1. All channels that share elements are one class.
    assert_eq!(reshaped([2, 3], [3, 2]), [1.0, 2.0]);
}

#[test]
fn a_dead_input_of_a_depthwise_convolution_makes_a_constant() {
    let (mut graph, x) = half_constant();
    let x = conv(&mut graph, "b", x, [2, 1, 3, 3], &[1.0; 18], &[0.0, -10.0]);
    let x = relu(&mut graph, x);
    graph.output = conv(&mut graph, "c", x, [1, 2, 1, 1], &[1.0, 2.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(dims(&passed, "b.weight"), [1, 1, 3, 3]);
    assert_eq!(dims(&passed, "c.weight"), [1, 1, 1, 1]);
    // 2 times the number of pixels in a window, minus 10, after ReLU, times 2.
    assert_eq!(values(&passed, "c.bias"), [0.0, 4.0, 0.0, 4.0, 16.0, 4.0, 0.0, 4.0, 0.0]);
}

#[test]
fn groups_are_removed_as_a_whole() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let x = conv(&mut graph, "a", 0, [6, 1, 1, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[]);
    // Three groups of two channels: one channel of the first is read, none of the second, both of the third.
    let weight: Vec<f32> = (1..=12).map(|i| i as f32).collect();
    let x = conv(&mut graph, "b", x, [6, 2, 1, 1], &weight, &[]);
    graph.output = conv(&mut graph, "c", x, [1, 6, 1, 1], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(values(&passed, "a.weight"), [1.0, 2.0, 5.0, 6.0]);
    assert_eq!(values(&passed, "b.weight"), [1.0, 2.0, 3.0, 4.0, 9.0, 10.0, 11.0, 12.0]);
    assert_eq!(values(&passed, "c.weight"), [1.0, 0.0, 1.0, 1.0]);
    let Op::Fused(fused) = &passed.nodes[2].op else { panic!("{passed:?}") };
    assert_eq!(fused.convs[0].groups, 2);
}

#[test]
fn channels_of_a_sum_are_removed_from_both_inputs_or_from_none() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let a = conv(&mut graph, "a", 0, [3, 1, 1, 1], &[1.0, 2.0, 0.0], &[0.0, 0.0, 5.0]);
    let b = conv(&mut graph, "b", 0, [3, 1, 1, 1], &[4.0, 0.0, 0.0], &[0.0, 1.0, 6.0]);
    let sum = push(&mut graph, Op::Add, &[a, b]);
    // The first channel is not read, the second is constant in one input, the third in both.
    graph.output = conv(&mut graph, "c", sum, [1, 3, 1, 1], &[0.0, 1.0, 2.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(values(&passed, "a.weight"), [2.0]);
    assert_eq!(ops(&passed), ["fused convolution", "constant", "add", "fused convolution"]);
    assert_eq!(values(&passed, "constant.2"), [1.0]);
    assert_eq!((values(&passed, "c.weight"), values(&passed, "c.bias")), (&[1.0][..], &[22.0][..]));
}

#[test]
fn a_dead_convolution_becomes_its_residual_input_plus_a_bias() {
    let mut graph = Graph::new(&[2, 1, 1]);
    put(&mut graph, "a.weight", &[2, 2, 1, 1], &[0.0; 4]);
    put(&mut graph, "a.bias", &[2], &[1.0, 2.0]);
    let convs = vec![crate::Conv::new("a.weight", crate::Window::same(1))];
    let activation = Some(ActivationFn::Relu);
    let bias = Some("a.bias".into());
    let fused = Op::Fused(Fused { convs, bias, residual: true, activation });
    let x = push(&mut graph, fused, &[0, 0]);
    graph.output = x;
    let passed = passed(drop_dead, &graph);
    assert_eq!(ops(&passed), ["constant", "add", "activation"]);
    assert_eq!(values(&passed, "constant.1"), [1.0, 2.0]);
    put(&mut graph, "a.bias", &[2], &[0.0; 2]);
    assert_eq!(ops(&crate::passes::tests::passed(drop_dead, &graph)), ["activation"]);
}

#[test]
fn a_constant_residual_input_is_part_of_the_bias() {
    let mut graph = Graph::new(&[1, 1, 2]);
    let residual = constant(&mut graph, "residual", &[1, 1, 2], &[1.0, 2.0]);
    put(&mut graph, "a.weight", &[1, 1, 1, 1], &[3.0]);
    let convs = vec![crate::Conv::new("a.weight", crate::Window::same(1))];
    let fused = Op::Fused(Fused { convs, bias: None, residual: true, activation: None });
    graph.output = push(&mut graph, fused, &[0, residual]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(ops(&passed), ["fused convolution"]);
    assert_eq!(values(&passed, "a.bias"), [1.0, 2.0]);
}

#[test]
fn a_dead_shortcut_is_removed_and_the_other_convolution_stays() {
    let mut graph = Graph::new(&[1, 1, 2]);
    put(&mut graph, "a.weight", &[1, 1, 1, 1], &[3.0]);
    put(&mut graph, "b.weight", &[1, 1, 1, 1], &[0.0]);
    let convs = ["a.weight", "b.weight"].map(|name| crate::Conv::new(name, crate::Window::same(1)));
    let convs = convs.to_vec();
    let fused = Op::Fused(Fused { convs, bias: None, residual: false, activation: None });
    graph.output = push(&mut graph, fused, &[0, 0]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(passed.nodes[1].inputs, [0]);
    assert_eq!(passed.tensors.keys().collect::<Vec<_>>(), ["a.weight"]);
}

#[test]
fn channels_of_a_concat_keep_their_order() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let a = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 2.0], &[]);
    let b = conv(&mut graph, "b", 0, [2, 1, 1, 1], &[0.0, 4.0], &[0.0, 8.0]);
    let c = conv(&mut graph, "c", 0, [1, 1, 1, 1], &[0.0], &[16.0]);
    let x = push(&mut graph, Op::Concat, &[c, a, b]);
    let weight = [1.0, 0.0, 10.0, 100.0, 1000.0];
    graph.output = conv(&mut graph, "d", x, [1, 5, 1, 1], &weight, &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(
        (values(&passed, "a.weight"), values(&passed, "b.weight")),
        (&[2.0][..], &[4.0][..])
    );
    assert_eq!(values(&passed, "d.weight"), [10.0, 1000.0]);
    assert_eq!(values(&passed, "d.bias"), [16.0]);
}

#[test]
fn a_concat_of_one_input_is_that_input() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let a = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[2.0], &[]);
    let b = conv(&mut graph, "b", 0, [1, 1, 1, 1], &[0.0], &[1.0]);
    let x = push(&mut graph, Op::Concat, &[b, a]);
    graph.output = conv(&mut graph, "c", x, [1, 2, 1, 1], &[3.0, 4.0], &[]);
    assert_eq!(ops(&passed(drop_dead, &graph)), ["fused convolution"; 2]);
}

#[test]
fn channels_read_only_by_a_gate_are_kept() {
    let mut graph = Graph::new(&[1, 1, 2]);
    let a = conv(&mut graph, "a", 0, [3, 1, 1, 1], &[1.0, 2.0, 3.0], &[]);
    let squeezed = push(&mut graph, Op::GlobalAverage, &[a]);
    let gate = conv(&mut graph, "g", squeezed, [3, 3, 1, 1], &[0.0, 1.0, 0.0].repeat(3), &[]);
    let product = push(&mut graph, Op::Multiply, &[a, gate]);
    graph.output = conv(&mut graph, "b", product, [1, 3, 1, 1], &[1.0, 0.0, 0.0], &[]);
    let passed = passed(drop_dead, &graph);
    // The last layer reads the first channel, the gate reads the second, nothing reads the third.
    assert_eq!(values(&passed, "a.weight"), [1.0, 2.0]);
    assert_eq!(values(&passed, "g.weight"), [0.0, 1.0, 0.0, 1.0]);
}

#[test]
fn a_weight_with_two_readers_gets_a_second_name_for_its_narrowed_copy() {
    let (mut graph, x) = half_constant();
    let y = conv(&mut graph, "b", x, [2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0], &[]);
    let z = conv(&mut graph, "c", y, [2, 2, 1, 1], &[1.0, 1.0, 0.0, 1.0], &[]);
    let op = graph.nodes[y].op.clone();
    graph.output = push(&mut graph, op, &[z]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(values(&passed, "b.weight"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(&passed, "b.weight.1"), [1.0, 3.0]);
}

#[test]
fn a_dead_network_is_a_constant() {
    let (mut graph, x) = half_constant();
    let x = conv(&mut graph, "b", x, [1, 2, 3, 3], &[0.0; 18], &[]);
    let x = push(&mut graph, Op::GlobalAverage, &[x]);
    let x = push(&mut graph, Op::Reshape(vec![1]), &[x]);
    put(&mut graph, "c", &[2, 1], &[1.0, 2.0]);
    put(&mut graph, "d", &[2], &[3.0, 4.0]);
    let linear = Op::Linear { weight: "c".into(), bias: Some("d".into()) };
    graph.output = push(&mut graph, linear, &[x]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(ops(&passed), ["constant"]);
    assert_eq!(passed.output_dims(), [2]);
}

#[test]
fn softmax_needs_all_of_its_channels() {
    let mut graph = Graph::new(&[1, 1, 1]);
    let x = conv(&mut graph, "a", 0, [3, 1, 1, 1], &[1.0, 0.0, 3.0], &[]);
    let x = push(&mut graph, Op::Softmax { axis: 0 }, &[x]);
    graph.output = conv(&mut graph, "b", x, [1, 3, 1, 1], &[1.0, 0.0, 0.0], &[]);
    let passed = passed(drop_dead, &graph);
    assert_eq!(dims(&passed, "a.weight"), [3, 1, 1, 1]);
}

#[test]
fn graphs_with_very_large_values_do_not_change() {
    let mut graph = Graph::new(&[1, 1, 1]);
    put(&mut graph, "a", &[1, 1, 1, 1], &[0.0]);
    let window = crate::Window::square(1, 1, 1 << 30);
    let x = push(&mut graph, Op::Conv(crate::Conv::new("a", window)), &[0]);
    graph.output = push(&mut graph, Op::GlobalAverage, &[x]);
    assert_eq!(drop_dead(&graph).unwrap(), graph);
    let error = crate::passes::shrink(&graph).unwrap_err().to_string();
    assert!(error.contains("elements for an image, more than 134217728"), "{error}");
    assert_eq!(ops(&crate::passes::optimized(&graph).unwrap()).len(), 2);
}

#[test]
fn graphs_with_empty_values_do_not_change() {
    let mut graph = Graph::new(&[0, 1, 1]);
    put(&mut graph, "a", &[1, 0, 1, 1], &[]);
    let conv = crate::Conv::new("a", crate::Window::same(1));
    graph.output = push(&mut graph, Op::Conv(conv), &[0]);
    assert_eq!(drop_dead(&graph).unwrap(), graph);
    let error = crate::passes::shrink(&graph).unwrap_err().to_string();
    assert!(error.contains("node 0 (input) is empty"), "{error}");
}
