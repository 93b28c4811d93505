//! Folds functions `scale · x + shift` into the weights and biases of the convolution or linear layer before them.

use super::{
    drop_unread,
    rebuild::Rebuild,
    tensors::{self, bias_of, spread, wide},
};
use crate::{
    Affine, Conv, Fused, Graph, GraphError, Op, Tensor,
    interpret::{channels, elementwise::source, pixels},
};
use std::rc::Rc;

/// Largest number of elements of a new bias that is larger than the constant. Networks need no larger bias, and a small
/// file could otherwise fill the memory.
const ELEMENTS: usize = 1 << 20;

/// Folds each batch norm, and each sum or product with a constant, into the weights and biases of the layer before it.
///
/// The layer must be a convolution or linear layer without another reader. The constant of a product has one value, or
/// one per channel. The constant of a sum may have one per pixel, if the new bias has at most 2²⁰ elements or is not
/// larger than the constant. All larger biases together may add 2²⁰ elements to those of the graph's tensors. A layer
/// whose weights would become infinite stays as it is.
///
/// # Errors
/// If the graph is not valid.
pub fn fold_affine(graph: &Graph) -> Result<Graph, GraphError> {
    fold(graph, |graph, node, input| match of_norm(graph, node)? {
        None => of_constant(graph, node, input),
        norm => Ok(norm),
    })
}

/// Folds affine nodes into the layers before them. `function(graph, node, input)` returns the affine functions that a
/// node applies to its input: one per channel, or one per element with one factor per channel. It returns `None` if the
/// node is not affine.
pub(super) fn fold(
    graph: &Graph,
    function: impl Fn(&Graph, usize, usize) -> Result<Option<Vec<Affine>>, GraphError>,
) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    let readers = graph.sole_readers();
    let mut is_folded = vec![false; graph.nodes.len()];
    // A few bytes of a file repeat a constant for many layers, so all larger biases together are limited, too.
    let stored: usize = graph.tensors.values().map(|tensor| tensor.values().len()).sum();
    let mut left = ELEMENTS.saturating_add(stored);
    for i in 0..graph.nodes.len() {
        if is_folded[i] {
            continue;
        }
        let (mut last, mut layer) = (i, Layer::of(graph, i)?);
        while let Some(layer) = &mut layer
            && let Some(reader) = readers[last]
            && let Some(function) = function(graph, reader, last)?
            && let changed = layer.changed(&function)
            && let more = changed.bias.len() - layer.bias.len()
            && more <= left
            && changed.stays_finite()
        {
            left -= more;
            *layer = changed;
            is_folded[reader] = true;
            last = reader;
        }
        match layer {
            Some(layer) if last != i => {
                let op = layer.op(graph, &mut rebuild, i)?;
                rebuild.replace(i, op, &graph.nodes[i].inputs)?;
                rebuild.stand(last, rebuild.place(i)?);
            }
            _ => rebuild.copy(i)?,
        }
    }
    drop_unread(&rebuild.finish()?)
}

/// The functions of a batch norm, one per channel; `None` for other operations.
pub(super) fn of_norm(graph: &Graph, node: usize) -> Result<Option<Vec<Affine>>, GraphError> {
    match &graph.nodes[node].op {
        Op::Norm(norm) => norm.affine(graph).map(Some),
        _ => Ok(None),
    }
}

/// The changes to a layer: the factors of its output channels, and the new bias of each channel or each element.
struct Layer {
    scales: Vec<f64>,
    bias: Vec<f64>,
    /// The largest finite magnitude among the original weights of each channel.
    largest: Rc<[f32]>,
}

impl Layer {
    /// A layer without changes; `None` if the node is no layer, or has a residual input or an activation.
    fn of(graph: &Graph, node: usize) -> Result<Option<Self>, GraphError> {
        let node = &graph.nodes[node];
        let (weights, bias): (Vec<&str>, _) = match &node.op {
            Op::Conv(Conv { weight, bias, .. }) | Op::Linear { weight, bias } => {
                (vec![weight], bias)
            }
            Op::Fused(Fused { residual: false, activation: None, convs, bias, .. }) => {
                (convs.iter().map(|conv| &*conv.weight).collect(), bias)
            }
            _ => return Ok(None),
        };
        let channels = channels(&node.dims);
        let bias = match bias {
            Some(name) => wide(graph.tensor(name)?),
            None => vec![0.0; channels],
        };
        let mut largest = vec![0.0f32; channels];
        for name in weights {
            let values = graph.tensor(name)?.values();
            let row = (values.len() / channels.max(1)).max(1);
            for (largest, row) in largest.iter_mut().zip(values.chunks(row)) {
                let finite = row.iter().map(|w| w.abs()).filter(|w| w.is_finite());
                *largest = finite.fold(*largest, f32::max);
            }
        }
        Ok(Some(Self { scales: vec![1.0; channels], bias, largest: largest.into() }))
    }

    /// With one more function per channel, or one per element.
    fn changed(&self, functions: &[Affine]) -> Self {
        let pixels = functions.len() / self.scales.len().max(1);
        let firsts = functions.iter().step_by(pixels.max(1));
        let scales = self.scales.iter().zip(firsts).map(|(scale, f)| scale * f.scale).collect();
        let n = self.bias.len().max(functions.len());
        let pairs = spread(&self.bias, n).zip(spread(functions, n));
        let bias = pairs.map(|(bias, f)| f.apply(bias)).collect();
        Self { scales, bias, largest: Rc::clone(&self.largest) }
    }

    /// Whether all finite weights of the layer are finite with these scales. A product can be too large for a weight,
    /// although small inputs would have had finite results.
    fn stays_finite(&self) -> bool {
        let mut channels = self.largest.iter().zip(&self.scales);
        !channels.any(|(&largest, scale)| (f64::from(largest) * scale).abs() > f32::MAX.into())
    }

    /// The operation with its new tensors.
    fn op(&self, graph: &Graph, rebuild: &mut Rebuild, node: usize) -> Result<Op, GraphError> {
        let node = &graph.nodes[node];
        let bias = tensors::bias(&node.dims, &self.bias)?;
        let mut op = match &node.op {
            // A plain convolution cannot have a bias per pixel.
            Op::Conv(conv) if bias.dims().len() > 1 => Op::Fused(conv.clone().into()),
            op => op.clone(),
        };
        let (weights, name): (Vec<&mut String>, _) = match &mut op {
            Op::Conv(Conv { weight, bias, .. }) | Op::Linear { weight, bias } => {
                (vec![weight], bias)
            }
            Op::Fused(Fused { convs, bias, .. }) => {
                (convs.iter_mut().map(|conv| &mut conv.weight).collect(), bias)
            }
            _ => return Ok(op),
        };
        let of_weight = || weights.first().map_or_else(String::new, |weight| bias_of(weight));
        let own = name.get_or_insert_with(of_weight);
        *own = rebuild.put(own, bias);
        for weight in weights {
            *weight = self.scaled(graph, rebuild, weight)?;
        }
        Ok(op)
    }

    /// Adds the weight `name` with scaled output channels, and returns its new name. Zeros stay zeros.
    fn scaled(
        &self,
        graph: &Graph,
        rebuild: &mut Rebuild,
        name: &str,
    ) -> Result<String, GraphError> {
        let weight = graph.tensor(name)?;
        let row = weight.values().len() / self.scales.len().max(1);
        let mut values = weight.values().to_vec();
        for (row, &scale) in values.chunks_mut(row.max(1)).zip(&self.scales) {
            for weight in row.iter_mut().filter(|weight| **weight != 0.0) {
                *weight = if scale == 0.0 { 0.0 } else { (f64::from(*weight) * scale) as f32 };
            }
        }
        Ok(rebuild.put(name, Tensor::new(weight.dims(), values)?))
    }
}

/// The functions of a sum or product of `input` and a constant: one per channel if the constant has one value per
/// channel, else one per element. `None` for other operations.
fn of_constant(
    graph: &Graph,
    node: usize,
    input: usize,
) -> Result<Option<Vec<Affine>>, GraphError> {
    let node = &graph.nodes[node];
    let Some(&other) = node.inputs.iter().find(|&&other| other != input) else { return Ok(None) };
    let Op::Constant(name) = &graph.nodes[other].op else { return Ok(None) };
    let constant = graph.tensor(name)?;
    let is_per_channel = pixels(constant.dims()) == 1;
    let (channels, pixels) = (channels(&node.dims), pixels(&node.dims));
    let (n, step) = if is_per_channel { (channels, pixels) } else { (channels * pixels, 1) };
    if n > ELEMENTS.max(constant.values().len()) {
        return Ok(None);
    }
    let value = |i: usize| constant.values()[source(i * step, constant.dims(), &node.dims)].into();
    let function: &dyn Fn(usize) -> Affine = match &node.op {
        _ if node.dims != graph.nodes[input].dims => return Ok(None),
        Op::Add => &|i| Affine { scale: 1.0, shift: value(i) },
        Op::Multiply if is_per_channel => &|i| Affine { scale: value(i), shift: 0.0 },
        _ => return Ok(None),
    };
    Ok(Some((0..n).map(function).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::tests::{constant, conv, norm, ops, passed, push, put, values};

    #[test]
    fn constants_per_channel_are_folded_into_weight_and_bias() {
        let mut graph = Graph::new(&[1, 1, 2]);
        let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 2.0], &[0.5, 0.0]);
        let factor = constant(&mut graph, "factor", &[2, 1, 1], &[3.0, 0.0]);
        let x = push(&mut graph, Op::Multiply, &[factor, x]);
        let summand = constant(&mut graph, "summand", &[1, 1, 1], &[10.0]);
        let x = push(&mut graph, Op::Add, &[x, summand]);
        graph.output = norm(&mut graph, x, &[2.0, 1.0], &[1.0, 0.0]);
        let passed = passed(fold_affine, &graph);
        assert_eq!(ops(&passed), ["convolution"]);
        assert_eq!(values(&passed, "a.weight"), [6.0, 0.0]);
        assert_eq!(values(&passed, "a.bias"), [22.0, 9.0]);
    }

    #[test]
    fn weights_do_not_become_infinite() {
        for (factor, folds) in [(1e18, true), (1e19, false), (-1e19, false)] {
            let mut graph = Graph::new(&[1, 1, 2]);
            let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1e20, 1.0], &[0.0, 0.0]);
            let factor = constant(&mut graph, "factor", &[2, 1, 1], &[factor, 1.0]);
            graph.output = push(&mut graph, Op::Multiply, &[factor, x]);
            let n_ops = ops(&fold_affine(&graph).unwrap()).len();
            assert_eq!(n_ops == 1, folds);
        }
    }

    #[test]
    fn a_summand_per_pixel_makes_a_bias_per_pixel() {
        let mut graph = Graph::new(&[1, 1, 2]);
        let x = conv(&mut graph, "a", 0, [2, 1, 1, 1], &[1.0, 2.0], &[0.5, 0.0]);
        let summand = constant(&mut graph, "summand", &[1, 1, 2], &[10.0, 20.0]);
        let x = push(&mut graph, Op::Add, &[summand, x]);
        graph.output = norm(&mut graph, x, &[2.0, 1.0], &[2.0, 1.0]);
        let passed = passed(fold_affine, &graph);
        assert_eq!(ops(&passed), ["fused convolution"]);
        assert_eq!(values(&passed, "a.bias"), [21.0, 41.0, 10.0, 20.0]);
    }

    #[test]
    fn constants_per_feature_are_folded_into_linear_layers() {
        let mut graph = Graph::new(&[1]);
        put(&mut graph, "a.weight", &[2, 1], &[1.0, 2.0]);
        let linear = Op::Linear { weight: "a.weight".into(), bias: None };
        let x = push(&mut graph, linear, &[0]);
        let factor = constant(&mut graph, "factor", &[2], &[3.0, 4.0]);
        let x = push(&mut graph, Op::Multiply, &[x, factor]);
        graph.output = push(&mut graph, Op::Add, &[x, factor]);
        let passed = passed(fold_affine, &graph);
        assert_eq!(ops(&passed), ["linear"]);
        assert_eq!(values(&passed, "a.weight"), [3.0, 8.0]);
        assert_eq!(values(&passed, "a.bias"), [3.0, 4.0]);
    }

    #[test]
    fn a_summand_that_would_make_a_very_large_bias_stays() {
        let mut graph = Graph::new(&[1, 1, 1]);
        put(&mut graph, "a", &[1, 1, 1, 1], &[1.0]);
        let window = crate::Window::square(1, 1, 1 << 10);
        let conv = push(&mut graph, Op::Conv(Conv::new("a", window)), &[0]);
        let summand = constant(&mut graph, "summand", &[1, 1, 2049], &[1.0; 2049]);
        graph.output = push(&mut graph, Op::Add, &[conv, summand]);
        assert_eq!(ops(&fold_affine(&graph).unwrap()), ops(&graph));
    }

    #[test]
    fn factors_per_pixel_and_constants_that_enlarge_a_value_stay() {
        let mut graph = Graph::new(&[1, 1, 1]);
        let x = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[1.0], &[]);
        let summand = constant(&mut graph, "summand", &[1, 1, 2], &[10.0, 20.0]);
        let x = push(&mut graph, Op::Add, &[x, summand]);
        let x = conv(&mut graph, "b", x, [1, 1, 1, 1], &[1.0], &[]);
        graph.output = push(&mut graph, Op::Multiply, &[x, summand]);
        assert_eq!(ops(&passed(fold_affine, &graph)), ops(&graph));
    }
}
