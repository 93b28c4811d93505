//! The passes on small graphs, and a property test that they change no result.

use super::*;
use crate::{ActivationFn, Conv, Norm, Op, Tensor, Window, interpret, random};
use proptest::prelude::*;

/// Adds a tensor.
pub(super) fn put(graph: &mut Graph, name: &str, dims: &[usize], values: &[f32]) {
    graph.add_tensor(name, Tensor::new(dims, values.to_vec()).unwrap());
}

/// Adds a node.
pub(super) fn push(graph: &mut Graph, op: Op, inputs: &[usize]) -> usize {
    graph.push(op, inputs).unwrap()
}

/// Adds a constant.
pub(super) fn constant(graph: &mut Graph, name: &str, dims: &[usize], values: &[f32]) -> usize {
    put(graph, name, dims, values);
    push(graph, Op::Constant(name.into()), &[])
}

/// A convolution `name` with odd, square kernels that keeps the size of the plane. An empty `bias` means no bias.
pub(super) fn conv(
    graph: &mut Graph,
    name: &str,
    input: usize,
    dims: [usize; 4],
    weight: &[f32],
    bias: &[f32],
) -> usize {
    let mut conv = Conv::new(format!("{name}.weight"), Window::same(dims[2]));
    conv.groups = graph.nodes[input].dims[0] / dims[1];
    put(graph, &conv.weight, &dims, weight);
    if !bias.is_empty() {
        put(graph, &format!("{name}.bias"), &[dims[0]], bias);
        conv.bias = Some(format!("{name}.bias"));
    }
    push(graph, Op::Conv(conv), &[input])
}

/// A batch norm with mean 1 and factors equal to `weight`.
pub(super) fn norm(graph: &mut Graph, input: usize, weight: &[f32], bias: &[f32]) -> usize {
    let n = weight.len();
    let tensors =
        [("weight", weight), ("bias", bias), ("mean", &vec![1.0; n]), ("var", &vec![3.0; n])];
    let [weight, bias, mean, var] = tensors.map(|(name, values)| {
        let name = format!("norm.{name}");
        let doubled: Vec<f32> = values.iter().map(|x| x * 2.0).collect();
        put(graph, &name, &[n], if name == "norm.weight" { &doubled } else { values });
        name
    });
    push(graph, Op::Norm(Norm { weight, bias, mean, var, eps: 1.0 }), &[input])
}

pub(super) fn relu(graph: &mut Graph, input: usize) -> usize {
    push(graph, Op::Activation(ActivationFn::Relu), &[input])
}

/// The values of a tensor.
pub(super) fn values<'a>(graph: &'a Graph, name: &str) -> &'a [f32] {
    graph.tensor(name).unwrap().values()
}

/// The names of operations in order, without the input.
pub(super) fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().skip(1).map(|node| node.op.name()).collect()
}

/// The graph after a pass. Checks that the pass changes no result.
pub(super) fn passed(pass: Pass, graph: &Graph) -> Graph {
    let passed = pass(graph).unwrap();
    passed.check().unwrap();
    let images = random::images(graph, 2, 7);
    let difference =
        difference(&interpret(graph, &images).unwrap(), &interpret(&passed, &images).unwrap());
    assert!(difference < 1e-6, "{difference} between {graph:#?} and {passed:#?}");
    passed
}

/// Largest difference of two results, relative to the largest magnitude.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = a.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / most).fold(0.0, f32::max)
}

/// A pass.
pub(super) type Pass = fn(&Graph) -> Result<Graph, GraphError>;

const PASSES: [(&str, Pass); 11] = [
    ("drop_unread", drop_unread),
    ("fold_constants", fold_constants),
    ("fold_pads", fold_pads),
    ("fold_norms", fold_norms),
    ("fold_affine", fold_affine),
    ("fuse", fuse),
    ("drop_dead", drop_dead),
    ("optimized", optimized),
    ("unfuse", unfuse),
    ("unfuse after optimized", |graph| unfuse(&optimized(graph)?)),
    ("shrink", shrink),
];

#[test]
fn a_variance_below_zero_gives_nan_and_no_error() {
    let mut graph = Graph::new(&[1, 2, 2]);
    let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 2.0], &[]);
    graph.output = norm(&mut graph, x, &[1.0, 1.0], &[0.0, 0.0]);
    put(&mut graph, "norm.var", &[2], &[-2.0, 3.0]);
    let found = interpret(&optimized(&graph).unwrap(), &[1.0; 4]).unwrap();
    assert!(found[..4].iter().all(|x| x.is_nan()) && found[4..].iter().all(|x| x.is_finite()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // Cancellation amplifies rounding errors; the bound holds for each seed of this range.
    #[test]
    fn passes_change_no_result(seed in 0..20_000u64) {
        let mut graph = random::graph(seed);
        for (i, node) in graph.nodes.iter_mut().enumerate() {
            node.name = format!("node {i}");
        }
        let images = random::images(&graph, 2, seed);
        let expected = interpret(&graph, &images).unwrap();
        for (name, pass) in PASSES {
            let passed = pass(&graph).unwrap();
            passed.check().unwrap();
            let found = interpret(&passed, &images).unwrap();
            let difference = difference(&expected, &found);
            prop_assert!(difference < 1e-5, "{name} changes results by {difference}: {graph:#?}");
            let is_named = |name: &str| graph.nodes.iter().any(|node| node.name == name);
            prop_assert!(passed.nodes.iter().all(|node| is_named(&node.name)), "{name}: {passed:#?}");
        }
    }
}

/// A network with one dead filter in each of two 3×3 convolutions on 4×4 pixels, followed by global average pooling and
/// a linear layer.
fn half_dead() -> Graph {
    let mut graph = Graph::new(&[1, 4, 4]);
    let filter = |value: f32| vec![value; 9];
    let weight = [filter(1.0), filter(0.0), filter(-1.0)].concat();
    let x = conv(&mut graph, "a", 0, [3, 1, 3, 3], &weight, &[0.0, 2.0, 0.5]);
    let x = relu(&mut graph, x);
    let weight = [filter(1.0), filter(4.0), filter(5.0), vec![0.0; 27]].concat();
    let x = conv(&mut graph, "b", x, [2, 3, 3, 3], &weight, &[0.0, -3.0]);
    let x = relu(&mut graph, x);
    let x = push(&mut graph, Op::GlobalAverage, &[x]);
    let x = push(&mut graph, Op::Reshape(vec![2]), &[x]);
    put(&mut graph, "c.weight", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let linear = Op::Linear { weight: "c.weight".into(), bias: None };
    graph.output = push(&mut graph, linear, &[x]);
    graph
}

#[test]
fn a_shrunk_network_has_the_cost_counted_by_hand() {
    let graph = half_dead();
    let small = passed(shrink, &graph);
    let cost = |graph: &Graph| -> Vec<(String, Vec<usize>, u64)> {
        let layers = graph.layers().unwrap().into_iter();
        layers.map(|l| (l.name.into(), l.weight.dims().to_vec(), l.macs_dense())).collect()
    };
    let layer = |name: &str, dims: &[usize], macs| (format!("{name}.weight"), dims.to_vec(), macs);
    let before = [
        layer("a", &[3, 1, 3, 3], 27 * 16),
        layer("b", &[2, 3, 3, 3], 54 * 16),
        layer("c", &[3, 2], 6),
    ];
    let after = [
        layer("a", &[2, 1, 3, 3], 18 * 16),
        layer("b", &[1, 2, 3, 3], 18 * 16),
        layer("c", &[3, 1], 3),
    ];
    assert_eq!((cost(&graph), cost(&small)), (before.to_vec(), after.to_vec()));
    // The dead filter of the first layer outputs 2. With weight 4 in b, a corner gets 4, a side 6 and the middle 9
    // times 2 · 4.
    let border = values(&small, "b.bias");
    assert_eq!(small.tensor("b.bias").unwrap().dims(), [1, 4, 4]);
    assert_eq!((border[0], border[1], border[5]), (32.0, 48.0, 72.0));
    // The dead filter of the second layer outputs max(−3, 0) = 0.
    assert!(!small.tensors.contains_key("c.bias"));
    assert_eq!(ops(&small)[..4], ["convolution", "activation", "convolution", "constant"]);
}

#[test]
fn a_shrunk_graph_has_fewer_weights_and_no_fused_operation() {
    let mut n_smaller = 0;
    for seed in 0..500 {
        let graph = random::graph(seed);
        let small = shrink(&graph).unwrap();
        assert!(!ops(&small).contains(&"fused convolution"), "{seed}");
        let cost = |graph: &Graph| graph.layers().unwrap().iter().map(|l| l.macs_dense()).sum();
        let (before, after): (u64, u64) = (cost(&graph), cost(&small));
        assert!(after <= before, "{seed}");
        n_smaller += u32::from(after < before);
        // A second call removes nothing.
        assert_eq!(cost(&shrink(&small).unwrap()), after, "{seed}");
    }
    assert!(n_smaller > 100, "{n_smaller}");
}

#[test]
fn a_fused_operation_has_the_name_of_its_first_convolution() {
    let mut graph = Graph::new(&[1, 2, 2]);
    let sum = conv(&mut graph, "a", 0, [1, 1, 3, 3], &[1.0; 9], &[]);
    let sum = norm(&mut graph, sum, &[2.0], &[1.0]);
    let sum = push(&mut graph, Op::Add, &[sum, 0]);
    let active = relu(&mut graph, sum);
    graph.output = push(&mut graph, Op::MaxPool(Window::square(2, 1, 0)), &[active]);
    for (node, name) in graph.nodes.iter_mut().zip(["x", "conv", "norm", "add", "relu", "pool"]) {
        node.name = name.into();
    }
    let names = |graph: Graph| graph.nodes.into_iter().map(|node| node.name).collect::<Vec<_>>();
    assert_eq!(names(passed(optimized, &graph)), ["x", "conv", "pool"]);
    // A convolution with all weights 0 becomes a constant, a sum and an activation.
    put(&mut graph, "a.weight", &[1, 1, 3, 3], &[0.0; 9]);
    assert_eq!(names(passed(optimized, &graph)), ["x", "conv", "conv", "conv", "pool"]);
}

#[test]
fn passes_reject_an_invalid_graph() {
    let mut graph = Graph::new(&[1, 2, 2]);
    graph.output = relu(&mut graph, 0);
    graph.nodes[1].inputs = vec![1];
    for (name, pass) in PASSES {
        assert!(pass(&graph).is_err(), "{name}");
    }
}

#[test]
fn passes_keep_metadata_and_a_graph_without_nodes() {
    let mut graph = Graph::new(&[1, 2, 2]);
    graph.metadata.insert("classes".into(), "3".into());
    for (name, pass) in PASSES {
        assert_eq!(pass(&graph).unwrap(), graph, "{name}");
    }
}
