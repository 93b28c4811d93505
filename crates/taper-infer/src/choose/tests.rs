//! All candidates give the same bits, and convolutions share a choice only if they have equal shapes.

use super::*;
use crate::{Engine, Options, compile::compile_by};
use taper_graph::{ActivationFn, Conv as Convolution, Graph, Op, Tensor, Window, random};

/// Bits of the results for one image, with all NaN payloads made equal.
fn bits(graph: &Graph, image: &[f32], variant: Variant, chooser: &mut Chooser) -> Vec<u32> {
    let compiled = compile_by(graph, variant, chooser).unwrap();
    let mut results = vec![0.0; compiled.output_len()];
    compiled.run(&mut compiled.arena(), image, &mut results);
    results.into_iter().map(|v| if v.is_nan() { f32::NAN } else { v }.to_bits()).collect()
}

/// Compares all candidates with the choice of the rule.
fn check(graph: &Graph, image: &[f32], what: &str) {
    for variant in Variant::available() {
        let want = bits(graph, image, variant, &mut Chooser::Rule);
        for n in 0..9 {
            let got = bits(graph, image, variant, &mut Chooser::Nth(n));
            assert!(got == want, "{what}, {variant}: candidate {n}");
        }
        let got = bits(graph, image, variant, &mut Chooser::Timing(Timing::default()));
        assert!(got == want, "{what}, {variant}: the fastest");
    }
}

/// Puts numbers that are not finite into an image.
fn spoil(image: &mut [f32], seed: usize) {
    let n = image.len();
    for (i, value) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
        image[(seed * 31 + i * 17) % n] = value;
    }
}

#[test]
fn candidates_of_random_graphs_give_the_same_bits() {
    for seed in 0..150 {
        let graph = random::graph(seed);
        let mut image = random::images(&graph, 1, seed);
        if seed % 2 == 0 {
            spoil(&mut image, seed as usize);
        }
        check(&graph, &image, &format!("seed {seed}"));
    }
}

#[test]
fn candidates_of_single_layers_give_the_same_bits() {
    let sizes = [[1, 1], [2, 2], [4, 4], [8, 8], [7, 14], [16, 16], [5, 32], [12, 56], [3, 70]];
    for (i, [rows, columns]) in sizes.into_iter().enumerate() {
        for (kernel, stride, groups) in [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 20), (3, 2, 20)] {
            for density in [10, 80, 100] {
                let mut graph = Graph::new(&[20, rows, columns]);
                let each = 20 / groups;
                let n = 20 * each * kernel * kernel;
                let numbers = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 500.0 - 1.01;
                let weight = |i: usize| match (i * 37 + i / 100 * 11) % 100 < density {
                    true => numbers(i),
                    false => 0.0,
                };
                let dims = [20, each, kernel, kernel];
                let weights: Vec<f32> = (0..n).map(weight).collect();
                graph.add_tensor("w", Tensor::new(&dims, weights).unwrap());
                let bias: Vec<f32> =
                    (0..20).map(|o| if o == 3 { -0.0 } else { numbers(o) }).collect();
                graph.add_tensor("b", Tensor::new(&[20], bias).unwrap());
                let window = Window::square(kernel, stride, kernel / 2);
                let conv =
                    Convolution { weight: "w".into(), bias: Some("b".into()), window, groups };
                let conv = graph.push(Op::Conv(conv), &[Graph::INPUT]).unwrap();
                let op = Op::Activation(ActivationFn::LeakyRelu { slope: 0.1 });
                graph.output = graph.push(op, &[conv]).unwrap();
                let mut image: Vec<f32> = (0..20 * rows * columns).map(numbers).collect();
                let what = format!(
                    "{rows}×{columns}, {kernel}×{kernel}/{stride}, {groups} groups, {density} %"
                );
                check(&graph, &image, &what);
                spoil(&mut image, i);
                check(&graph, &image, &what);
            }
        }
    }
}

/// A chain of convolutions of 20 channels on 16×16 pixels. In each layer, one weight in `one_in` is not 0.
fn chain(one_in: &[usize]) -> Graph {
    chain_of(one_in, |i, one_in| i.is_multiple_of(one_in))
}

/// A chain of convolutions. A weight is not 0 if `is_kept(index of the weight, number of the layer)`.
fn chain_of(layers: &[usize], is_kept: impl Fn(usize, usize) -> bool) -> Graph {
    let mut graph = Graph::new(&[20, 16, 16]);
    for (layer, &number) in layers.iter().enumerate() {
        let weight = |i: usize| if is_kept(i, number) { 0.5 } else { 0.0 };
        let name = format!("w{layer}");
        let weights: Vec<f32> = (0..20 * 20 * 9).map(weight).collect();
        graph.add_tensor(&name, Tensor::new(&[20, 20, 3, 3], weights).unwrap());
        let conv = Op::Conv(Convolution::new(name, Window::same(3)));
        let conv = graph.push(conv, &[graph.output]).unwrap();
        graph.output = graph.push(Op::Activation(ActivationFn::Relu), &[conv]).unwrap();
    }
    graph
}

/// Number of convolutions that are timed.
fn n_timed(graph: &Graph) -> usize {
    let mut chooser = Chooser::Timing(Timing::default());
    compile_by(graph, Variant::current(), &mut chooser).unwrap();
    let Chooser::Timing(timing) = chooser else { unreachable!() };
    timing.known.len()
}

#[test]
fn layers_of_equal_shape_share_a_measurement() {
    assert_eq!(n_timed(&chain(&[5, 5, 5])), 1);
    // 720, 400 and 360 weights.
    assert_eq!(n_timed(&chain(&[5, 9, 10])), 3);
}

#[test]
fn layers_with_and_without_a_zero_have_different_shapes() {
    // By rule, layers with a zero here multiply it. The layer without zeros can use sparse kernels, too.
    let graph = chain_of(&[0, 1, 1], |i, zeros| i >= zeros);
    assert_eq!(n_timed(&graph), 2);
}

/// A 1×1 convolution from `n` to `n` channels.
fn one_layer(n: usize, rows: usize, columns: usize) -> Graph {
    let mut graph = Graph::new(&[n, rows, columns]);
    graph.add_tensor("w", Tensor::new(&[n, n, 1, 1], vec![0.5; n * n]).unwrap());
    let conv = Op::Conv(Convolution::new("w", Window::same(1)));
    graph.output = graph.push(conv, &[Graph::INPUT]).unwrap();
    graph
}

#[test]
fn large_layers_and_networks_are_not_timed() {
    assert_eq!(n_timed(&one_layer(2, 1024, 64)), 1);
    // More than 64 MiB of planes, and more than 2²⁸ multiply-adds.
    assert_eq!(n_timed(&one_layer(2, 4096, 1024)), 0);
    assert_eq!(n_timed(&one_layer(1100, 16, 16)), 0);
}

#[test]
fn plans_by_rule_are_equal() {
    let graph = chain(&[1, 5, 9]);
    let plan = || {
        let options = Options { deterministic: true, ..Options::default() };
        let layers = Engine::compile(&graph, &options).unwrap().plan().layers;
        layers.into_iter().map(|layer| layer.kernel).collect::<Vec<String>>()
    };
    assert_eq!(plan(), plan());
}
