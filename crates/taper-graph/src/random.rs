//! Random graphs on small planes, for tests.

use crate::{
    ActivationFn, Conv, Graph, GraphError, Norm, Op, Pad, Tensor, Window,
    interpret::{channels, pixels},
};

/// A valid graph, the same for the same seed. It has convolutions with groups, strides, dilation and asymmetric
/// padding, weights with dead rows and columns, residual blocks, concatenations, pools and other operations.
pub fn graph(seed: u64) -> Graph {
    let mut random = Random::new(seed);
    let [rows, columns] = random.pick(&[
        [1, 1],
        [1, 1],
        [2, 3],
        [3, 1],
        [4, 4],
        [5, 9],
        [7, 7],
        [8, 8],
        [9, 33],
        [13, 5],
        [16, 16],
        [3, 32],
    ]);
    let channels = random.width();
    let graph = Graph::new(&[channels, rows, columns]);
    // Most graphs have few zeros, and some are almost or completely dead.
    let sparsities: &[f32] = random.pick(&[
        &[0.0f32] as &[f32],
        &[0.0, 0.3, 0.5],
        &[0.3, 0.5, 0.7],
        &[0.0, 0.5, 0.8, 0.9],
        &[0.0, 0.5, 0.9, 0.98, 1.0],
    ]);
    let mut maker = Maker { graph, random, sparsities };
    let mut last = Graph::INPUT;
    for _ in 0..2 + maker.random.below(12) {
        let x = if maker.random.one_in(6) { maker.random.below(last + 1) } else { last };
        // Operations that do not fit are left out.
        last = maker.extend(x).unwrap_or(last);
    }
    if !maker.random.one_in(4) {
        last = maker.head(last).unwrap_or(last);
    }
    maker.graph.output = last;
    maker.graph
}

/// Values for `n` images of a graph, from −1 to 1.
pub fn images(graph: &Graph, n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n * graph.input_dims().iter().product::<usize>()).map(|_| random.value()).collect()
}

/// A pseudo-random generator (xorshift64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = random.next());
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `n − 1`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// From −1 to 1.
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A number of channels.
    fn width(&mut self) -> usize {
        if self.one_in(8) { 16 + self.below(6) } else { 1 + self.below(8) }
    }
}

/// A graph under construction.
struct Maker {
    graph: Graph,
    random: Random,
    /// Fractions of zeros, one of which is chosen for each weight.
    sparsities: &'static [f32],
}

impl Maker {
    fn dims(&self, node: usize) -> Vec<usize> {
        self.graph.nodes[node].dims.clone()
    }

    /// Adds a tensor, and returns its name.
    fn tensor(&mut self, dims: &[usize], mut value: impl FnMut(&mut Random) -> f32) -> String {
        let name = format!("t{}.weight", self.graph.tensors.len());
        let n = dims.iter().product::<usize>();
        let values: Vec<f32> = (0..n).map(|_| value(&mut self.random)).collect();
        self.graph.add_tensor(&name, Tensor::new(dims, values).expect("as many values"));
        name
    }

    /// A weight with random zeros, and in some cases with rows or columns of zeros.
    fn weight(&mut self, dims: &[usize]) -> String {
        let sparsity = self.random.pick(self.sparsities);
        let (each, taps) = (dims[1], dims[2..].iter().product::<usize>());
        let scale = (3.0 / ((each * taps) as f32 * (1.0 - sparsity) + 1.0)).sqrt();
        let mut dead = |n: usize| -> Vec<bool> {
            let some = sparsity > 0.0 && self.random.one_in(3);
            (0..n).map(|_| some && self.random.one_in(3)).collect()
        };
        let (rows, columns) = (dead(dims[0]), dead(each));
        let mut at = 0;
        self.tensor(dims, |random| {
            let (row, column) = (at / taps / each, at / taps % each);
            at += 1;
            let is_zero = (random.value() + 1.0) / 2.0 < sparsity || rows[row] || columns[column];
            if is_zero { 0.0 } else { random.value() * scale }
        })
    }

    fn bias(&mut self, n: usize) -> Option<String> {
        let is_there = self.random.one_in(2);
        is_there.then(|| self.tensor(&[n], |random| random.value() / 2.0))
    }

    fn activation(&mut self) -> ActivationFn {
        self.random.pick(&[
            ActivationFn::Relu,
            ActivationFn::Relu,
            ActivationFn::RELU6,
            ActivationFn::LeakyRelu { slope: 0.1 },
            ActivationFn::Sigmoid,
            ActivationFn::HardSigmoid { alpha: 0.2, beta: 0.5 },
            ActivationFn::Silu,
            ActivationFn::HardSwish,
            ActivationFn::Clip { min: -0.5, max: 0.75 },
        ])
    }

    /// A convolution to `out` channels. With `is_same` it keeps the size of the plane.
    fn conv(&mut self, x: usize, out: usize, is_same: bool) -> Result<usize, GraphError> {
        let dims = self.dims(x);
        let input = channels(&dims);
        let kernel = self.random.pick(&[[1, 1], [3, 3], [3, 3], [5, 5], [1, 3], [3, 1]]);
        let mut window = Window { kernel, ..Window::square(1, 1, 0) };
        window.padding = [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2];
        if !is_same && self.random.one_in(2) {
            window.kernel = [1 + self.random.below(3), 1 + self.random.below(4)];
            window.padding = [(); 4].map(|()| self.random.below(4));
            window.stride = [(); 2].map(|()| 1 + self.random.below(3));
            window.dilation = [(); 2].map(|()| self.random.pick(&[1, 1, 1, 2]));
        } else if !is_same && self.random.one_in(3) {
            window.stride = [2; 2];
        }
        let groups = match self.random.below(4) {
            0 if out.is_multiple_of(input) => input,
            1 => self.random.pick(&[2, 3, 4]),
            _ => 1,
        };
        let is_divisor = out.is_multiple_of(groups) && input.is_multiple_of(groups);
        let groups = if is_divisor { groups } else { 1 };
        let weight = self.weight(&[out, input / groups, window.kernel[0], window.kernel[1]]);
        let bias = self.bias(out);
        let conv = self.graph.push(Op::Conv(Conv { weight, bias, window, groups }), &[x])?;
        // Sometimes another node uses the same weight.
        if self.random.one_in(12) {
            let op = self.graph.nodes[conv].op.clone();
            let other = self.graph.push(op, &[x])?;
            return self.graph.push(Op::Add, &[conv, other]);
        }
        Ok(conv)
    }

    fn norm(&mut self, x: usize) -> Result<usize, GraphError> {
        let n = channels(&self.dims(x));
        let weight =
            self.tensor(&[n], |random| if random.one_in(8) { 0.0 } else { random.value() });
        let [bias, mean] = [(); 2].map(|()| self.tensor(&[n], |random| random.value() / 2.0));
        let var = self.tensor(&[n], |random| 1.1 + random.value());
        self.graph.push(Op::Norm(Norm { weight, bias, mean, var, eps: 1e-3 }), &[x])
    }

    /// A batch norm and an activation, either of them, or nothing.
    fn tail(&mut self, mut x: usize) -> Result<usize, GraphError> {
        if self.random.one_in(2) {
            x = self.norm(x)?;
        }
        if !self.random.one_in(3) {
            let activation = self.activation();
            x = self.graph.push(Op::Activation(activation), &[x])?;
        }
        Ok(x)
    }

    /// A constant that broadcasts to these sizes.
    fn constant(&mut self, dims: &[usize]) -> Result<usize, GraphError> {
        let mut own = dims.to_vec();
        let per_channel = self.random.one_in(2);
        for (i, size) in own.iter_mut().enumerate() {
            if (per_channel && i > 0) || self.random.one_in(4) {
                *size = 1;
            }
        }
        let name = self.tensor(&own, |random| if random.one_in(8) { 0.0 } else { random.value() });
        self.graph.push(Op::Constant(name), &[])
    }

    /// A random node with a value of the same rank and, from dimension `first` on, the same sizes.
    fn partner(&mut self, dims: &[usize], first: usize) -> Option<usize> {
        let nodes = self.graph.nodes.iter().enumerate();
        let fits = |other: &[usize]| other.len() == dims.len() && other[first..] == dims[first..];
        let fitting: Vec<usize> = nodes.filter(|(_, n)| fits(&n.dims)).map(|(i, _)| i).collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting))
    }

    /// Adds a few operations after node `x`, and returns the last of them.
    fn extend(&mut self, x: usize) -> Result<usize, GraphError> {
        let dims = self.dims(x);
        let width = self.random.width();
        match self.random.below(24) {
            0..=6 => {
                let conv = self.conv(x, width, false)?;
                self.tail(conv)
            }
            7..=9 => {
                // A residual block; its shortcut has a convolution or not.
                let inner = self.conv(x, width, true)?;
                let inner = self.tail(inner)?;
                let has_own = self.random.one_in(3);
                let out = if has_own { width } else { channels(&dims) };
                let inner = self.conv(inner, out, true)?;
                let inner = if self.random.one_in(2) { self.norm(inner)? } else { inner };
                let shortcut = if has_own { self.conv(x, out, true)? } else { x };
                let pair =
                    if self.random.one_in(2) { [inner, shortcut] } else { [shortcut, inner] };
                let sum = self.graph.push(Op::Add, &pair)?;
                self.tail(sum)
            }
            10 => {
                let mut inputs = vec![x];
                for _ in 0..1 + self.random.below(2) {
                    inputs.extend(self.partner(&dims, 1));
                }
                let x = self.graph.push(Op::Concat, &inputs)?;
                self.tail(x)
            }
            11 => {
                let inputs = [x, self.partner(&dims, 0).unwrap_or(x)];
                let op = self.random.pick(&[true, false]);
                self.graph.push(if op { Op::Add } else { Op::Multiply }, &inputs)
            }
            12 => {
                // Squeeze and excitation.
                let squeezed = self.graph.push(Op::GlobalAverage, &[x])?;
                let inner = self.conv(squeezed, width, true)?;
                let inner = self.tail(inner)?;
                let gate = self.conv(inner, channels(&dims), true)?;
                let hard = ActivationFn::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
                let activation = self.random.pick(&[ActivationFn::Sigmoid, hard]);
                let gate = self.graph.push(Op::Activation(activation), &[gate])?;
                self.graph.push(Op::Multiply, &[x, gate])
            }
            13 | 14 => {
                let window = Window {
                    kernel: [1 + self.random.below(3), 1 + self.random.below(3)],
                    stride: [(); 2].map(|()| 1 + self.random.below(3)),
                    padding: [0; 4],
                    dilation: [1; 2],
                };
                let [down, across] = window.kernel;
                let padding = [down, across, down, across].map(|size| self.random.below(size));
                let window = Window { padding, ..window };
                let counts_padding = self.random.one_in(2);
                let average = Op::AveragePool { window, counts_padding };
                let is_max = self.random.one_in(2);
                self.graph.push(if is_max { Op::MaxPool(window) } else { average }, &[x])
            }
            15 => {
                let value = self.random.pick(&[0.0, 0.0, 0.5]);
                let sizes = [(); 4].map(|()| self.random.below(3));
                let pad = self.graph.push(Op::Pad(Pad { sizes, value }), &[x])?;
                self.conv(pad, width, false)
            }
            16 | 17 => {
                let x = if self.random.one_in(2) { self.conv(x, width, false)? } else { x };
                let constant = self.constant(&self.dims(x))?;
                let pair = if self.random.one_in(2) { [x, constant] } else { [constant, x] };
                let is_sum = self.random.one_in(2);
                self.graph.push(if is_sum { Op::Add } else { Op::Multiply }, &pair)
            }
            18 if pixels(&dims) <= 64 => {
                let factors = [(); 2].map(|()| 1 + self.random.below(2));
                self.graph.push(Op::Upsample { factors }, &[x])
            }
            19 => self.tail(x),
            20 => {
                let constant = self.constant(&dims)?;
                let constant = self.tail(constant)?;
                self.graph.push(Op::Add, &[x, constant])
            }
            21 if channels(&dims) > 1 => {
                let axis = self.random.below(dims.len());
                self.graph.push(Op::Softmax { axis }, &[x])
            }
            22 if dims.len() == 3 => {
                let into = [[dims[0] * dims[1], 1, dims[2]], [dims[0], dims[2], dims[1]]];
                let dims = self.random.pick(&into).to_vec();
                self.graph.push(Op::Reshape(dims), &[x])
            }
            _ => {
                let is_max = self.random.one_in(3);
                self.graph.push(if is_max { Op::GlobalMax } else { Op::GlobalAverage }, &[x])
            }
        }
    }

    /// A classifier: global average pooling or not, then linear layers.
    fn head(&mut self, mut x: usize) -> Result<usize, GraphError> {
        if self.random.one_in(2) {
            x = self.graph.push(Op::GlobalAverage, &[x])?;
        }
        let mut n = self.dims(x).iter().product();
        x = self.graph.push(Op::Reshape(vec![n]), &[x])?;
        for _ in 0..1 + self.random.below(2) {
            let out = 1 + self.random.below(20);
            let weight = self.weight(&[out, n]);
            let bias = self.bias(out);
            x = self.graph.push(Op::Linear { weight, bias }, &[x])?;
            x = self.tail(x)?;
            n = out;
        }
        if self.random.one_in(3) {
            x = self.graph.push(Op::Softmax { axis: 0 }, &[x])?;
        }
        Ok(x)
    }
}
