//! Functions `scale · x + shift` of what convolutions and linear layers give, as part of their weights and biases.

use super::{
    drop_unread,
    fold_norms::of_norm,
    rebuild::{Rebuild, sole_readers},
    tensors::{self, bias_of},
};
use crate::{
    Fused, Graph, GraphError, Op, Tensor,
    interpret::{
        channels,
        elementwise::{Affine, source},
        pixels,
    },
};

/// The graph with each batch norm, and each sum or product with a constant, in the weights and biases of the layer before
/// it. A layer is a convolution or linear layer that nothing else reads. The constants of a product have one value, or one
/// for each channel; those of a sum may have one for each pixel.
///
/// # Errors
/// If the graph is not valid.
pub fn fold_affine(graph: &Graph) -> Result<Graph, GraphError> {
    fold(graph, |graph, node, input| match of_norm(graph, node)? {
        None => of_constant(graph, node, input),
        norm => Ok(norm),
    })
}

/// Folds what `function` finds. It gives what a node computes of its input, if it is affine: functions of each channel,
/// or of each element with one factor for each channel.
pub(super) fn fold(
    graph: &Graph,
    function: impl Fn(&Graph, usize, usize) -> Result<Option<Vec<Affine>>, GraphError>,
) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    let readers = sole_readers(graph);
    let mut is_folded = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        if is_folded[i] {
            continue;
        }
        let (mut last, mut layer) = (i, Layer::of(graph, i)?);
        while let Some(layer) = &mut layer
            && let Some(reader) = readers[last]
            && let Some(function) = function(graph, reader, last)?
        {
            layer.change(&function);
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

/// What is done to a layer: factors of its output channels, and its bias for each of them or for each element.
struct Layer {
    scales: Vec<f64>,
    bias: Vec<f64>,
}

impl Layer {
    /// A layer as it is; none if the node is something else or something follows its sum.
    fn of(graph: &Graph, node: usize) -> Result<Option<Self>, GraphError> {
        let node = &graph.nodes[node];
        let bias = match &node.op {
            Op::Conv(conv) => &conv.bias,
            Op::Linear { bias, .. } => bias,
            Op::Fused(Fused { residual: false, activation: None, bias, .. }) => bias,
            _ => return Ok(None),
        };
        let channels = channels(&node.dims);
        let bias = match bias {
            Some(name) => graph.tensor(name)?.values().iter().map(|&x| x.into()).collect(),
            None => vec![0.0; channels],
        };
        Ok(Some(Self { scales: vec![1.0; channels], bias }))
    }

    /// Applies functions of each channel, or of each element.
    fn change(&mut self, functions: &[Affine]) {
        // Index `i` of `n` in a list that has an entry for several of them.
        let at = |i: usize, n: usize, of: usize| i / (n / of.max(1)).max(1);
        let (channels, n) = (self.scales.len(), self.bias.len().max(functions.len()));
        let pixels = functions.len() / channels.max(1);
        let firsts = functions.iter().step_by(pixels.max(1));
        self.scales.iter_mut().zip(firsts).for_each(|(scale, f)| *scale *= f.scale);
        let bias =
            |i| functions[at(i, n, functions.len())].apply(self.bias[at(i, n, self.bias.len())]);
        self.bias = (0..n).map(bias).collect();
    }

    /// The operation with its new tensors.
    fn op(&self, graph: &Graph, rebuild: &mut Rebuild, node: usize) -> Result<Op, GraphError> {
        let node = &graph.nodes[node];
        let bias = tensors::bias(&node.dims, &self.bias)?;
        let mut put_bias = |weight: &str, old: &Option<String>| {
            let name = old.clone().unwrap_or_else(|| bias_of(weight));
            Some(rebuild.put(&name, bias.clone()))
        };
        let mut op = match &node.op {
            Op::Conv(conv) => {
                let mut fused = Fused::from(conv.clone());
                fused.bias = put_bias(&conv.weight, &conv.bias);
                Op::Fused(fused)
            }
            Op::Fused(fused) => {
                let mut fused = fused.clone();
                fused.bias = put_bias(&fused.convs[0].weight, &fused.bias);
                Op::Fused(fused)
            }
            Op::Linear { weight, bias } => {
                Op::Linear { weight: weight.clone(), bias: put_bias(weight, bias) }
            }
            other => other.clone(),
        };
        match &mut op {
            Op::Linear { weight, .. } => *weight = self.scaled(graph, rebuild, weight)?,
            Op::Fused(fused) => {
                for conv in &mut fused.convs {
                    conv.weight = self.scaled(graph, rebuild, &conv.weight)?;
                }
                // A plain convolution stays one where its form has room for the bias.
                if matches!(node.op, Op::Conv(_)) && bias.dims().len() == 1 {
                    let mut conv = fused.convs.remove(0);
                    conv.bias = fused.bias.take();
                    op = Op::Conv(conv);
                }
            }
            _ => {}
        }
        Ok(op)
    }

    /// Adds the weight of this name with its output channels scaled. Zeros stay zeros.
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

/// The functions of a sum or product of `input` and a constant, for each channel if that is enough, else for each element.
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
    let value = |i: usize| constant.values()[source(i * step, constant.dims(), &node.dims)].into();
    let function: &dyn Fn(usize) -> Affine = match &node.op {
        _ if node.dims != graph.nodes[input].dims => return Ok(None),
        Op::Add => &|i| Affine { scale: 1.0, shift: value(i) },
        Op::Multiply if is_per_channel => &|i| Affine { scale: value(i), shift: 0.0 },
        _ => return Ok(None),
    };
    Ok(Some((0..n).map(function).collect()))
}
