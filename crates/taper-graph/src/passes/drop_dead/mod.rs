//! Elimination of channels that have no effect, or a constant effect.
//!
//! Two analyses run over the channels (dimension 0) of all values:
//!
//! 1. **Constants**, forward: a channel is constant if every weight other than 0 that contributes to it reads a
//!    constant channel. Its pixels are then known, including the borders.
//! 2. **Reads**, backward: a channel is needed if it is in the output. It is also needed if it is not constant and a
//!    needed channel reads it with a weight other than 0. Channel-wise operations tie the channels of their inputs and
//!    output into classes. A class is kept as a whole or removed as a whole.
//!
//! Then each node is computed for its kept channels only. The contribution of constant channels to a sum moves into the
//! bias, and their weights become 0.

mod channel;
mod constants;
mod reads;
mod sum;

use super::{drop_unread, rebuild::Rebuild, tensors};
use crate::{ActivationFn, Fused, Graph, GraphError, Op, Tensor, tensor::n_elements};
use channel::Channel;
use sum::Sum;

/// Largest number of elements of all values of a graph. The analysis stores the constant values in f64.
const ELEMENTS: usize = 1 << 27;

/// Removes channels that have no effect on the output, or a constant effect.
///
/// Convolutions become [`Op::Fused`], and the effect of constant channels becomes part of their bias. The bias is per
/// pixel where padding makes borders differ. A graph with an empty value, or with more than 2²⁷ elements in all, does
/// not change.
///
/// # Errors
/// If the graph is not valid.
pub fn drop_dead(graph: &Graph) -> Result<Graph, GraphError> {
    let mut graph = drop_unread(graph)?;
    if refusal(&graph).is_some() {
        return Ok(graph);
    }
    for _ in 0..ROUNDS {
        let narrow = drop_unread(&without_dead(&graph)?)?;
        let is_done = work(&narrow) >= work(&graph);
        graph = narrow;
        if is_done {
            break;
        }
    }
    Ok(graph)
}

/// Maximum number of rounds. Networks need two or three; a graph that is made for it needs one for each layer.
const ROUNDS: usize = 16;

/// The reason why the pass does not change a graph, if there is one.
pub(super) fn refusal(graph: &Graph) -> Option<String> {
    let sizes = || graph.nodes.iter().map(|node| n_elements(&node.dims).unwrap_or(usize::MAX));
    if let Some(node) = sizes().position(|n| n == 0) {
        return Some(format!("the value of {} is empty", graph.title(node)));
    }
    let n = sizes().fold(0, usize::saturating_add);
    (n > ELEMENTS).then(|| {
        format!("the values of all nodes have {n} elements for an image, more than {ELEMENTS}")
    })
}

/// A measure of the work of a graph: the number of computed elements and of inputs.
fn work(graph: &Graph) -> usize {
    let computed = graph.nodes.iter().filter(|node| !node.inputs.is_empty());
    computed.map(|node| node.dims.iter().product::<usize>() + node.inputs.len()).sum()
}

fn without_dead(graph: &Graph) -> Result<Graph, GraphError> {
    let constants = constants::of(graph)?;
    let kept = reads::kept(graph, &constants)?;
    let mut narrow =
        Narrow { graph, constants: &constants, kept: &kept, rebuild: Rebuild::new(graph)? };
    for node in (1..graph.nodes.len()).filter(|&node| !kept[node].is_empty()) {
        narrow.node(node)?;
    }
    narrow.rebuild.finish()
}

/// A graph with fewer channels, under construction.
struct Narrow<'a> {
    graph: &'a Graph,
    /// The channels of each node.
    constants: &'a [Vec<Channel>],
    /// The kept channels of each node, in order.
    kept: &'a [Vec<usize>],
    rebuild: Rebuild<'a>,
}

impl Narrow<'_> {
    /// Computes a node for its kept channels.
    fn node(&mut self, i: usize) -> Result<(), GraphError> {
        let (graph, kept) = (self.graph, &self.kept[i]);
        let node = &graph.nodes[i];
        let constants: Option<Vec<&Vec<f64>>> =
            kept.iter().map(|&c| self.constants[i][c].as_ref()).collect();
        if let Some(planes) = constants {
            let name = match &node.op {
                Op::Constant(name) => name.clone(),
                _ => format!("constant.{i}"),
            };
            let values: Vec<f32> = planes.into_iter().flatten().map(|&x| x as f32).collect();
            let constant = self.constant(i, &name, Tensor::new(&self.dims(i), values)?)?;
            self.rebuild.stand(i, constant);
            return Ok(());
        }
        if let Some(sum) = Sum::of(graph, i)? {
            return self.sum(i, &sum);
        }
        let mut op = node.op.clone();
        for name in op.tensors_mut() {
            let tensor = tensors::channels_of(graph.tensor(name)?, kept)?;
            *name = self.rebuild.put(name, tensor);
        }
        if let Op::Reshape(dims) = &mut op {
            *dims = self.dims(i);
        }
        let inputs: Vec<usize> =
            node.inputs.iter().copied().filter(|&input| !self.kept[input].is_empty()).collect();
        match (&op, &inputs[..]) {
            (Op::Concat, &[only]) => self.rebuild.stand(i, self.rebuild.place(only)?),
            _ => self.rebuild.replace(i, op, &inputs)?,
        }
        Ok(())
    }

    /// Shape of a node's value with its kept channels.
    fn dims(&self, i: usize) -> Vec<usize> {
        let mut dims = self.graph.nodes[i].dims.clone();
        dims.iter_mut().take(1).for_each(|channels| *channels = self.kept[i].len());
        dims
    }

    fn constant(&mut self, i: usize, name: &str, tensor: Tensor) -> Result<usize, GraphError> {
        let name = self.rebuild.put(name, tensor);
        self.rebuild.push(i, Op::Constant(name), &[])
    }

    /// Computes a convolution or linear layer; its bias includes the constant part.
    fn sum(&mut self, i: usize, sum: &Sum) -> Result<(), GraphError> {
        let dims = self.dims(i);
        // A residual input with only constant channels is part of the bias.
        let residual =
            sum.residual.filter(|&node| self.constants[node].iter().any(Option::is_none));
        let part = sum.constant_part(self.graph, self.constants, residual.is_none())?;
        let n = part.len() / self.constants[i].len().max(1);
        let planes = self.kept[i].iter().map(|&c| &part[c * n..][..n]);
        let bias = tensors::bias(&dims, &planes.flatten().copied().collect::<Vec<f64>>())?;
        let is_biased = bias.values().iter().any(|&x| x != 0.0);

        let (mut convs, mut inputs) = (Vec::new(), Vec::new());
        for term in &sum.terms {
            let (weight, groups) =
                term.narrowed(&self.kept[i], &self.kept[term.input], &self.constants[term.input])?;
            if weight.values().iter().any(|&x| x != 0.0) {
                let mut conv = term.conv.clone();
                conv.weight = self.rebuild.put(&conv.weight, weight);
                conv.groups = groups;
                convs.push(conv);
                inputs.push(term.input);
            }
        }
        if let (true, Some(residual)) = (convs.is_empty(), residual) {
            return self.shifted(i, residual, is_biased.then_some(bias), sum.activation);
        }
        let bias = is_biased.then(|| self.rebuild.put(&sum.bias_name(), bias));
        let op = match convs.first() {
            Some(conv) if sum.is_linear => Op::Linear { weight: conv.weight.clone(), bias },
            _ => {
                inputs.extend(residual);
                let (residual, activation) = (residual.is_some(), sum.activation);
                Op::Fused(Fused { convs, bias, residual, activation })
            }
        };
        self.rebuild.replace(i, op, &inputs)
    }

    /// Computes a convolution with no weights left: its residual input, bias and activation.
    fn shifted(
        &mut self,
        i: usize,
        residual: usize,
        bias: Option<Tensor>,
        activation: Option<ActivationFn>,
    ) -> Result<(), GraphError> {
        let mut place = self.rebuild.place(residual)?;
        if let Some(bias) = bias {
            let dims = match bias.dims() {
                &[channels] => vec![channels, 1, 1],
                dims => dims.to_vec(),
            };
            let bias = Tensor::new(&dims, bias.values())?;
            let constant = self.constant(i, &format!("constant.{i}"), bias)?;
            place = self.rebuild.push(i, Op::Add, &[place, constant])?;
        }
        if let Some(activation) = activation {
            place = self.rebuild.push(i, Op::Activation(activation), &[place])?;
        }
        self.rebuild.stand(i, place);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
