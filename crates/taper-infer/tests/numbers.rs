//! NaN, infinities and denormal numbers.

use taper_graph::{ActivationFn, Conv, Graph, Op, Tensor, Window, interpret, random};
use taper_infer::{Engine, Options, Variant};

fn results(graph: &Graph, images: &[f32], batch: usize, variant: Variant) -> Vec<f32> {
    let options =
        Options { batch, deterministic: true, variant: Some(variant), ..Options::default() };
    Engine::compile(graph, &options).unwrap().run(images).unwrap()
}

/// Whether two numbers are NaN, the same infinity, or finite and close.
fn agree(got: f32, want: f32, tolerance: f32) -> bool {
    match want.is_finite() {
        true => (got - want).abs() <= tolerance,
        false => got == want || got.is_nan() && want.is_nan(),
    }
}

#[track_caller]
fn check(graph: &Graph, images: &[f32], batch: usize, what: &str) -> usize {
    let want = interpret(graph, images).unwrap();
    let finite = want.iter().filter(|v| v.is_finite());
    let scale = finite.fold(0.0f32, |most, v| most.max(v.abs())).max(1e-3);
    for variant in Variant::available() {
        let got = results(graph, images, batch, variant);
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let is_right = agree(got, want, 1e-5 * scale);
            assert!(is_right, "{what}, {variant}: element {i}: {got} {want}\n{:#?}", graph.nodes);
        }
    }
    want.iter().filter(|v| !v.is_finite()).count()
}

/// Puts numbers that are not finite into images.
fn spoil(images: &mut [f32], seed: u64) {
    let n = images.len();
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (i, value) in values.into_iter().enumerate() {
        if seed >> i & 1 == 1 || seed.is_multiple_of(8) {
            images[(seed as usize * 31 + i * 17) % n] = value;
        }
    }
}

#[test]
fn nan_and_infinity_are_where_the_interpreter_has_them() {
    let mut n_spoilt = 0;
    for seed in 0..6000 {
        let graph = random::graph(seed);
        // Dense layers multiply weights of 0, and passes preserve only finite values.
        let is_zero_free = graph.tensors.values().all(|t| t.values().iter().all(|&v| v != 0.0));
        if !is_zero_free {
            continue;
        }
        let mut images = random::images(&graph, 2, seed);
        spoil(&mut images, seed);
        n_spoilt += check(&graph, &images, 2, &format!("seed {seed}"));
    }
    assert!(n_spoilt > 1000, "{n_spoilt}");
}

/// Pseudo-random numbers from −1 to 1.
fn numbers(n: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Two convolutions, each followed by a leaky ReLU. One weight in `keep` is not 0.
fn two_layers(stride: usize, columns: usize, keep: usize, scale: f32) -> Graph {
    let mut graph = Graph::new(&[4, 9, columns]);
    let mut last = Graph::INPUT;
    for (layer, dims) in [[6, 4, 3, 3], [5, 6, 3, 3]].into_iter().enumerate() {
        let mut weight = numbers(dims.iter().product(), 3 + layer as u64);
        for (i, weight) in weight.iter_mut().enumerate() {
            *weight = if (i * 7 + layer) % keep == 0 { (*weight + 1.5) * scale } else { 0.0 };
        }
        let name = format!("weight{layer}");
        graph.add_tensor(&name, Tensor::new(&dims, weight).unwrap());
        let window = Window::square(3, if layer == 0 { stride } else { 1 }, 1);
        let conv = graph.push(Op::Conv(Conv::new(name, window)), &[last]).unwrap();
        last = graph.push(Op::Activation(ActivationFn::LeakyRelu { slope: 0.1 }), &[conv]).unwrap();
    }
    graph.output = last;
    graph
}

#[test]
fn a_sparse_layer_skips_weights_of_zero() {
    for (stride, columns) in [(1, 3), (1, 16), (1, 33), (1, 40), (1, 300), (2, 9), (2, 32)] {
        let graph = two_layers(stride, columns, 11, 1.0);
        let mut images = numbers(4 * 9 * columns, 9);
        for (i, value) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
            images[(i * 4 + 1) * columns + i % columns] = value;
            // At the ends of rows: a shift must not move them into other rows.
            images[(20 + i) * columns - 1] = value;
            images[(12 + i) * columns] = value;
        }
        let n = check(&graph, &images, 1, &format!("stride {stride}, {columns} columns"));
        assert!(n > 0);
    }
}

#[test]
fn denormal_images_and_weights_count_as_zero() {
    for (keep, image, weight) in
        [(11, 1e-40, 1.0), (1, 1e-40, 1.0), (11, 1.0, 1e-40), (1, 1.0, 1e-40)]
    {
        let graph = two_layers(1, 33, keep, weight);
        let images: Vec<f32> = numbers(4 * 9 * 33, 5).iter().map(|v| v * image).collect();
        let want = interpret(&graph, &images).unwrap();
        for variant in Variant::available() {
            let got = results(&graph, &images, 1, variant);
            assert!(got.iter().all(|&got| got == 0.0), "{variant}: weights of {weight:e}");
            // The smallest normal number is 1.2e-38; at most 90 numbers below it are added, times weights up to 2.5.
            assert!(want.iter().all(|want| want.abs() < 1e-35));
        }
    }
}

#[test]
fn denormal_results_of_a_layer_are_zero() {
    for keep in [1, 11] {
        let mut graph = two_layers(1, 33, keep, 1e-20);
        let images: Vec<f32> = numbers(4 * 9 * 33, 5).iter().map(|v| v * 1e-20).collect();
        // Only the first layer.
        graph.output = 2;
        let want = interpret(&graph, &images).unwrap();
        let scale = want.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(scale > 0.0 && scale < f32::MIN_POSITIVE);
        for variant in Variant::available() {
            assert!(results(&graph, &images, 1, variant).iter().all(|&got| got == 0.0));
        }
    }
}

/// Prints the slowdown on denormal images, and with denormal sums in layers. It asserts nothing, because times depend
/// on the machine.
#[test]
#[ignore = "measures"]
fn speed_with_denormals() {
    for variant in Variant::available() {
        for (keep, name) in [(11, "sparse"), (1, "dense")] {
            let graph = two_layers(1, 320, keep, 0.1);
            let normal = numbers(4 * 9 * 320, 5);
            let scaled = |factor: f32| normal.iter().map(|v| v * factor).collect();
            let (denormal, small): (Vec<f32>, Vec<f32>) = (scaled(1e-39), scaled(2e-38));
            let options = Options { variant: Some(variant), ..Options::default() };
            let engine = Engine::compile(&graph, &options).unwrap();
            let mut workspace = engine.workspace().unwrap();
            let mut results = vec![0.0; engine.output_dims().iter().product()];
            let mut least = [f64::INFINITY; 3];
            for _ in 0..200 {
                for (images, least) in [&normal, &denormal, &small].into_iter().zip(&mut least) {
                    let begin = std::time::Instant::now();
                    for _ in 0..10 {
                        engine.run_with(&mut workspace, images, &mut results).unwrap();
                    }
                    *least = least.min(begin.elapsed().as_secs_f64());
                }
            }
            let [normal, denormal, small] = least;
            println!(
                "{variant}, {name}: denormal images take {:.3} of the time, denormal sums {:.3}",
                denormal / normal,
                small / normal
            );
        }
    }
}
