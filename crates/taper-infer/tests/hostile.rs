//! Graphs of extreme sizes give an error or an engine, without a panic, and with memory in proportion to their content.

use taper_graph::{ActivationFn, Conv, Graph, GraphError, Norm, Op, Pad, Tensor, Window};
use taper_infer::{Engine, Options};

fn graph(
    input: &[usize],
    build: impl Fn(&mut Graph) -> Result<usize, GraphError>,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new(input);
    graph.output = build(&mut graph)?;
    Ok(graph)
}

fn tensor(graph: &mut Graph, name: &str, dims: &[usize]) {
    let n = dims.iter().product();
    graph.add_tensor(name, Tensor::new(dims, vec![0.5; n]).unwrap());
}

/// A convolution with weights of this shape.
fn conv(input: &[usize], dims: [usize; 4], window: Window, groups: usize) -> Graph {
    let window = Window { kernel: [dims[2], dims[3]], ..window };
    let conv = Conv { window, groups, ..Conv::new("w", window) };
    graph(input, |graph| {
        tensor(graph, "w", &dims);
        graph.push(Op::Conv(conv.clone()), &[Graph::INPUT])
    })
    .unwrap()
}

fn single(input: &[usize], op: &Op) -> Graph {
    graph(input, |graph| graph.push(op.clone(), &[Graph::INPUT])).unwrap()
}

#[track_caller]
fn refuse(graph: &Graph, part: &str) {
    let error = Engine::compile(graph, &Options::default()).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
    // Only "node ", because passes may have changed the operation.
    assert!(error.contains("node "), "no node is named: {error}");
}

/// Checks the start of the message.
#[track_caller]
fn refuse_as(graph: &Graph, begin: &str) {
    let error = Engine::compile(graph, &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with(begin), "{error}");
}

/// Compiles, runs an image, and compares with the interpreter.
#[track_caller]
fn accept(graph: &Graph) {
    let engine = Engine::compile(graph, &Options::default()).unwrap();
    let n = graph.input_dims().iter().product();
    let image: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 2.0).collect();
    let (got, want) = (engine.run(&image).unwrap(), taper_graph::interpret(graph, &image).unwrap());
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(&want) {
        let is_close = (got - want).abs() <= 1e-5 * want.abs().max(1.0) || got == want;
        assert!(is_close || got.is_nan() && want.is_nan(), "{got} {want}");
    }
}

const HUGE: usize = 1 << 40;
const LONG: usize = 1_000_000_000;

#[test]
fn large_values_are_refused() {
    let too_large = "the engine supports up to 1048576 channels and 134217728 elements";
    for dims in [&[1, 31_623, 31_623][..], &[HUGE], &[HUGE, 1, 1], &[1, HUGE], &[1, 1, HUGE]] {
        refuse(&Graph::new(dims), too_large);
    }
    // Values without elements still have tables of rows and columns.
    for dims in [&[0, HUGE, 1][..], &[0, 1, HUGE], &[0, HUGE]] {
        refuse(&Graph::new(dims), too_large);
    }
    refuse(&single(&[1, 1, 1], &Op::Upsample { factors: [1 << 20; 2] }), too_large);
    refuse(&single(&[0, 1, 1], &Op::Upsample { factors: [1 << 20; 2] }), too_large);
    refuse(&single(&[1, 1, 1], &Op::Pad(Pad { sizes: [LONG; 4], value: 0.0 })), too_large);
    refuse(&conv(&[1, 1, 1], [1, 1, 1, 1], Window::square(1, 1, LONG), 1), too_large);
    // A chain of many large layers.
    let chain = graph(&[1, 8, 8], |graph| {
        tensor(graph, "w", &[1, 1, 1, 1]);
        let mut last = Graph::INPUT;
        for _ in 0..20 {
            last = graph.push(Op::Upsample { factors: [2, 2] }, &[last])?;
            last = graph.push(Op::Conv(Conv::new("w", Window::square(1, 1, 0))), &[last])?;
        }
        graph.push(Op::GlobalMax, &[last])
    });
    refuse(&chain.unwrap(), too_large);
    // Each layer is small enough, but all of them together are not.
    let wide = graph(&[1, 1 << 13, 1 << 13], |graph| {
        let softmax = |graph: &mut Graph, axis| graph.push(Op::Softmax { axis }, &[0]);
        let maps: Vec<usize> =
            (0..20).map(|i| softmax(graph, 1 + i % 2)).collect::<Result<_, _>>()?;
        graph.push(Op::Concat, &maps)
    });
    refuse(&wide.unwrap(), too_large);
}

#[test]
fn many_channels_of_small_values_are_refused() {
    let leaky = Op::Activation(ActivationFn::LeakyRelu { slope: 0.5 });
    let chain = |n: usize| {
        graph(&[1 << 20, 1, 1], |graph| {
            (0..n).try_fold(Graph::INPUT, |last, _| graph.push(leaky.clone(), &[last]))
        })
        .unwrap()
    };
    refuse(
        &chain(40),
        "together have 42991616 channels; the engine supports up to 4194304, and node 40 (activation)",
    );
}

#[test]
fn values_that_do_not_fit_the_memory_together_are_refused() {
    let mut wide = graph(&[1, 1 << 12, 1 << 12], |graph| {
        let double = |graph: &mut Graph| graph.push(Op::Upsample { factors: [2, 2] }, &[0]);
        let all: Vec<usize> = (0..20).map(|_| double(graph)).collect::<Result<_, _>>()?;
        all.iter().skip(1).try_fold(all[0], |sum, &other| graph.push(Op::Add, &[sum, other]))
    })
    .unwrap();
    let error = Engine::compile(&wide, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("4 GiB") && error.contains("[1, 8192, 8192] of `"), "{error}");
    wide.output = 2;
    assert!(Engine::compile(&wide, &Options::default()).is_ok());
}

#[test]
fn errors_of_the_engine_have_the_node_names_of_the_file() {
    let window = Window { padding: [0, 2000, 0, 0], ..Window::square(1, 1, 0) };
    let mut graph = conv(&[1, 1, 4000], [1, 1, 1, 1], window, 1);
    graph.nodes[1].name = "/layer/Conv".into();
    graph.output = graph.push(Op::Activation(ActivationFn::Relu), &[1]).unwrap();
    graph.nodes[2].name = "/layer/Relu".into();
    refuse_as(
        &graph,
        "node `/layer/Conv` (fused convolution): the convolution with weight `w` reads",
    );
    let mut graph = single(&[1, 1, 1], &Op::Upsample { factors: [1 << 20; 2] });
    graph.nodes[1].name = "/up/Resize".into();
    refuse_as(&graph, "node `/up/Resize` (upsample): its value has shape");
    let mut graph = single(&[1, 4], &Op::Reshape(vec![1, 1, 2, 2]));
    graph.nodes[1].name = "/Reshape".into();
    refuse_as(&graph, "node `/Reshape` (reshape): its value has shape [1, 1, 2, 2]");
    let window = Window { stride: [HUGE, 1], ..Window::square(2, 1, 0) };
    let mut graph = single(&[1, 4, 4], &Op::MaxPool(window));
    graph.nodes[1].name = "/MaxPool".into();
    refuse_as(&graph, "node `/MaxPool` (max pool): a window has a size of");
}

#[test]
fn convolutions_that_read_far_away_are_refused() {
    let padded = |padding| {
        let window = Window { padding: [0, padding, 0, 0], ..Window::square(1, 1, 0) };
        conv(&[1, 1, 4000], [1, 1, 1, 1], window, 1)
    };
    accept(&padded(100));
    refuse(&padded(1025), "reads pixels 1025 columns away; the engine supports up to 1024");
}

#[test]
fn values_without_pixels_are_refused() {
    for dims in [&[3, 0, 4][..], &[3, 4, 0], &[3, 0], &[0, 0, 0]] {
        refuse(&Graph::new(dims), "has no pixels");
    }
    refuse(&Graph::new(&[1, 2, 3, 4]), "one to three dimensions");
}

#[test]
fn values_without_channels_are_compiled() {
    let nothing = Graph::new(&[0, 2, 2]);
    let engine = Engine::compile(&nothing, &Options::default()).unwrap();
    assert!(engine.run(&[]).unwrap_err().to_string().contains("[0, 2, 2]"));
    // A convolution from 0 channels, and a convolution to 0 channels.
    let from = conv(&[0, 4, 4], [2, 0, 3, 3], Window::square(3, 2, 1), 1);
    assert!(Engine::compile(&from, &Options::default()).is_ok());
    accept(&conv(&[2, 4, 4], [0, 2, 3, 3], Window::square(3, 2, 1), 1));
    let many = conv(&[0, 4, 4], [HUGE, 0, 3, 3], Window::square(3, 2, 1), 1);
    refuse(&many, "the engine supports up to");
}

#[test]
fn strides_beyond_the_plane_are_computed() {
    for stride in [LONG, HUGE, usize::MAX] {
        for kernel in [1, 3] {
            let window = Window::square(kernel, stride, 1);
            let graph = conv(&[2, 5, 7], [3, 2, kernel, kernel], window, 1);
            if stride == LONG {
                accept(&graph);
            } else {
                refuse(&graph, "a window has a size of");
            }
        }
    }
    let window = Window { stride: [LONG, 1], ..Window::square(2, 1, 0) };
    accept(&conv(&[2, 5, 7], [4, 1, 2, 2], window, 2));
    for op in [
        Op::MaxPool(Window::square(2, LONG, 0)),
        Op::AveragePool { window: Window::square(3, LONG, 1), counts_padding: true },
        Op::AveragePool { window: Window::square(3, LONG, 1), counts_padding: false },
    ] {
        accept(&single(&[2, 5, 7], &op));
    }
    // Two windows with a distance of a billion pixels.
    let apart = Window::square(1, LONG, LONG / 2);
    refuse(&conv(&[2, 5, 7], [1, 2, 1, 1], apart, 1), "has stride [1000000000, 1000000000]");
}

#[test]
fn kernels_beyond_the_plane_are_computed() {
    accept(&conv(&[2, 3, 3], [2, 2, 41, 41], Window::square(41, 1, 20), 1));
    accept(&conv(
        &[1, 2, 20],
        [1, 1, 1, 99],
        Window { padding: [0, 49, 0, 49], ..Window::square(1, 1, 0) },
        1,
    ));
    // Taps with large distances, most of them on padding.
    let far = Window { dilation: [LONG / 4; 2], ..Window::square(3, 1, LONG / 4) };
    accept(&conv(&[1, 3, 40], [2, 1, 3, 3], far, 1));
    accept(&conv(&[1, 3, 400], [2, 1, 3, 3], far, 1));
    for (kernel, dilation) in [(1 << 20, 1), (3, 1 << 20), (2, LONG / 2)] {
        let window = Window {
            kernel: [kernel; 2],
            dilation: [dilation; 2],
            stride: [(kernel - 1) * dilation; 2],
            padding: [kernel - 1; 4],
        };
        for op in [
            Op::MaxPool(window),
            Op::AveragePool { window, counts_padding: true },
            Op::AveragePool { window, counts_padding: false },
        ] {
            // `Err` means that the window does not fit.
            let input = [2, 5, 7];
            if let Ok(graph) = graph(&input, |graph| graph.push(op.clone(), &[0])) {
                accept(&graph);
            }
        }
    }
    for size in [HUGE, usize::MAX / 4] {
        let window =
            Window { kernel: [size; 2], stride: [1; 2], padding: [size - 1; 4], dilation: [1; 2] };
        for op in [Op::MaxPool(window), Op::AveragePool { window, counts_padding: true }] {
            if let Ok(graph) = graph(&[1, 1, 1], |graph| graph.push(op.clone(), &[0])) {
                assert!(Engine::compile(&graph, &Options::default()).is_err());
            }
        }
    }
}

#[test]
fn windows_that_cover_padding_only_are_computed() {
    let window = Window { dilation: [3; 2], ..Window::square(2, 1, 1) };
    for op in [
        Op::MaxPool(window),
        Op::AveragePool { window, counts_padding: true },
        Op::AveragePool { window, counts_padding: false },
    ] {
        for input in [[2, 1, 2], [2, 2, 1], [2, 2, 2], [1, 2, 9]] {
            if let Ok(graph) = graph(&input, |graph| graph.push(op.clone(), &[0])) {
                accept(&graph);
            }
        }
    }
}

#[test]
fn a_million_groups_are_compiled() {
    let n = 1_000_000;
    let window = Window::square(1, 1, 0);
    let graph = graph(&[n, 1, 1], |graph| {
        tensor(graph, "w", &[n, 1, 1, 1]);
        let names = ["weight", "bias", "mean", "var"].map(String::from);
        names.iter().for_each(|name| tensor(graph, name, &[n]));
        let [weight, bias, mean, var] = names;
        let conv = Conv { groups: n, ..Conv::new("w", window) };
        let conv = graph.push(Op::Conv(conv), &[Graph::INPUT])?;
        let norm = graph.push(Op::Norm(Norm { weight, bias, mean, var, eps: 0.0 }), &[conv])?;
        graph.push(Op::Reshape(vec![n]), &[norm])
    });
    accept(&graph.unwrap());
}
