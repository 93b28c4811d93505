//! Single layers of every shape against the interpreter, for each instruction set.

use taper_graph::{ActivationFn, Conv, Graph, Op, Tensor, Window, interpret};
use taper_infer::{Engine, Options, Variant};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn float(&mut self) -> f32 {
        (self.next() % 2001) as f32 / 1000.0 - 1.0
    }
}

fn check(graph: &Graph, random: &mut Random, what: &str) {
    let each: usize = graph.input_dims().iter().product();
    let images: Vec<f32> = (0..2 * each).map(|_| random.float()).collect();
    let want = interpret(graph, &images).unwrap();
    let finite = want.iter().filter(|v| v.is_finite());
    let scale = finite.fold(0.0f32, |a, v| a.max(v.abs())).max(1e-3);
    for variant in Variant::available() {
        let options =
            Options { batch: 2, variant: Some(variant), deterministic: true, ..Options::default() };
        let engine = Engine::compile(graph, &options).unwrap();
        let got = engine.run(&images).unwrap();
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            // A window without pixels gives NaN or −∞.
            let is_equal = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-5 * scale;
            assert!(is_equal, "{variant}: {what}: element {i}: {g} {w}");
        }
    }
}

#[test]
fn convolutions() {
    let mut random = Random(7);
    for case in 0..3000 {
        let sizes = [1, 2, 3, 4, 5, 7, 8, 9, 14, 16, 17, 28, 31, 32, 33, 56, 70];
        let (h, w) = (sizes[random.below(sizes.len())], sizes[random.below(sizes.len())]);
        let kernel = [1 + random.below(3), 1 + random.below(4)];
        let window = Window {
            kernel,
            stride: [1 + random.below(2), 1 + random.below(2)],
            padding: std::array::from_fn(|i| random.below(kernel[i % 2] + 1)),
            dilation: [1 + random.below(2), 1 + random.below(2)],
        };
        let groups = [1, 1, 1, 2, 3][random.below(5)];
        let (each_in, each_out) = (1 + random.below(4), 1 + random.below(5));
        let density = [0, 2, 20, 100][random.below(4)];
        let mut graph = Graph::new(&[groups * each_in, h, w]);
        let n = groups * each_out * each_in * kernel[0] * kernel[1];
        let weight: Vec<f32> = (0..n)
            .map(|_| if random.below(100) < density { random.float() } else { 0.0 })
            .collect();
        let dims = [groups * each_out, each_in, kernel[0], kernel[1]];
        graph.add_tensor("w", Tensor::new(&dims, weight).unwrap());
        let bias: Vec<f32> = (0..groups * each_out).map(|_| random.float()).collect();
        graph.add_tensor("b", Tensor::new(&[groups * each_out], bias).unwrap());
        let conv = Conv { weight: "w".into(), bias: Some("b".into()), window, groups };
        let what = format!("case {case}: {h}x{w} {conv:?} of {dims:?}");
        let Ok(node) = graph.push(Op::Conv(conv), &[Graph::INPUT]) else { continue };
        graph.output = node;
        if random.below(2) == 0 {
            graph.output = graph.push(Op::Activation(ActivationFn::RELU6), &[node]).unwrap();
        }
        check(&graph, &mut random, &what);
    }
}

#[test]
fn pools() {
    let mut random = Random(11);
    for case in 0..1000 {
        let sizes = [1, 2, 3, 5, 7, 8, 16, 31, 33];
        let (h, w) = (sizes[random.below(sizes.len())], sizes[random.below(sizes.len())]);
        let mut window = Window {
            kernel: [1 + random.below(3), 1 + random.below(4)],
            stride: [1 + random.below(3), 1 + random.below(3)],
            padding: [0; 4],
            dilation: [1 + random.below(3), 1 + random.below(2)],
        };
        // At least one pixel of each window is on the plane.
        let reach = [0, 1].map(|axis| (window.kernel[axis] - 1) * window.dilation[axis] + 1);
        window.padding = std::array::from_fn(|i| random.below(reach[i % 2]));
        let counts_padding = random.below(2) == 0;
        let op = match random.below(2) {
            0 => Op::MaxPool(window),
            _ => Op::AveragePool { window, counts_padding },
        };
        let what = format!("case {case}: {h}x{w} {op:?}");
        let mut graph = Graph::new(&[2, h, w]);
        let Ok(node) = graph.push(op, &[Graph::INPUT]) else { continue };
        graph.output = node;
        check(&graph, &mut random, &what);
    }
}

#[test]
fn rows_of_every_width() {
    let mut random = Random(3);
    for width in (1..=140).chain([208, 224, 272, 300]) {
        let mut graph = Graph::new(&[1, 2, width]);
        let weight: Vec<f32> = (0..18).map(|_| random.float()).collect();
        graph.add_tensor("w", Tensor::new(&[2, 1, 3, 3], weight).unwrap());
        let conv = Conv::new("w", Window::same(3));
        graph.output = graph.push(Op::Conv(conv), &[Graph::INPUT]).unwrap();
        check(&graph, &mut random, &format!("{width} columns"));
    }
}
