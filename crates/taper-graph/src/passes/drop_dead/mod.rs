//! Elimination of channels that have no effect, or a constant one.
//!
//! Two analyses decide, on channels of values (dimension 0):
//!
//! 1. **Constants**, forwards: a channel is constant if no weight other than 0 carries anything else into it. Its plane of
//!    pixels is known then, borders included.
//! 2. **Reads**, backwards: a channel is read if the output is made of it, or if a channel that is read takes it with a
//!    weight other than 0 and it is not constant. Operations that treat channels alone or keep their places tie the
//!    channels of their inputs and output together: all of such a class are kept, or none.
//!
//! Then each node is computed for the channels that are kept. What constant channels add to a sum goes into its bias, and
//! their weights become 0.

mod channel;
mod constants;
mod reads;
mod sum;

use super::{drop_unread, rebuild::Rebuild, tensors};
use crate::{ActivationFn, Fused, Graph, GraphError, Op, Tensor, tensor::n_elements};
use channel::Channel;
use sum::Sum;

/// Elements of all values of a graph, at most: the analysis keeps constant ones, in f64.
const ELEMENTS: usize = 1 << 27;

/// The graph without channels that have no effect on the output, or a constant one. Convolutions become [`Op::Fused`]: the
/// effect of constant channels is part of their bias, for each pixel where padding makes borders differ. A graph with an empty value, or with more than 2²⁷ elements in all, stays.
///
/// # Errors
/// If the graph is not valid.
pub fn drop_dead(graph: &Graph) -> Result<Graph, GraphError> {
    let mut graph = drop_unread(graph)?;
    if refusal(&graph).is_some() {
        return Ok(graph);
    }
    loop {
        let narrow = drop_unread(&without_dead(&graph)?)?;
        let is_done = work(&narrow) >= work(&graph);
        graph = narrow;
        if is_done {
            return Ok(graph);
        }
    }
}

/// Why a graph is left as it is.
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

/// Values that a graph computes and reads.
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

/// A graph of fewer channels under construction.
struct Narrow<'a> {
    graph: &'a Graph,
    /// The channels of each node.
    constants: &'a [Vec<Channel>],
    /// Those of them that are kept, in order.
    kept: &'a [Vec<usize>],
    rebuild: Rebuild<'a>,
}

impl Narrow<'_> {
    /// Computes a node for its channels that are kept.
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

    /// Shape of a node's value for the channels that are kept.
    fn dims(&self, i: usize) -> Vec<usize> {
        let mut dims = self.graph.nodes[i].dims.clone();
        dims.iter_mut().take(1).for_each(|channels| *channels = self.kept[i].len());
        dims
    }

    fn constant(&mut self, i: usize, name: &str, tensor: Tensor) -> Result<usize, GraphError> {
        let name = self.rebuild.put(name, tensor);
        self.rebuild.push(i, Op::Constant(name), &[])
    }

    /// Computes a convolution or linear layer, with what is constant in its bias.
    fn sum(&mut self, i: usize, sum: &Sum) -> Result<(), GraphError> {
        let dims = self.dims(i);
        // A residual input that is constant as a whole is part of the bias.
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

    /// What is left of a convolution without weights: its residual input, its bias and its activation.
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
