//! Sums over weights: a common form of convolutions and linear layers.

use super::channel::Channel;
use crate::{
    ActivationFn, Conv, Fused, Graph, GraphError, Op, Tensor, Window,
    interpret::{
        channels,
        conv::{add_plane, reads, row},
        pixels, sizes,
    },
    passes::tensors::{bias_of, spread, wide},
};

/// A sum of products with weights, a bias and a residual input, followed by an activation.
pub(super) struct Sum<'a> {
    pub(super) terms: Vec<Term<'a>>,
    pub(super) residual: Option<usize>,
    pub(super) activation: Option<ActivationFn>,
    /// Whether it is a linear layer. It then has one term, and neither residual input nor activation.
    pub(super) is_linear: bool,
    bias: Option<String>,
    dims: &'a [usize],
}

/// A convolution of one input. A linear layer is a convolution of a single pixel.
pub(super) struct Term<'a> {
    pub(super) conv: Conv,
    pub(super) weight: &'a Tensor,
    pub(super) input: usize,
    /// Rows and columns of the input.
    from: [usize; 2],
}

impl<'a> Sum<'a> {
    /// The sum that a node computes; `None` if it is another operation.
    pub(super) fn of(graph: &'a Graph, i: usize) -> Result<Option<Self>, GraphError> {
        let node = &graph.nodes[i];
        let (mut fused, is_linear) = match &node.op {
            Op::Linear { weight, bias } => {
                let mut conv = Conv::new(weight.clone(), Window::square(1, 1, 0));
                conv.bias.clone_from(bias);
                (Fused::from(conv), true)
            }
            Op::Conv(conv) => (Fused::from(conv.clone()), false),
            Op::Fused(fused) => (fused.clone(), false),
            _ => return Ok(None),
        };
        let mut terms = Vec::new();
        for (conv, &input) in fused.convs.drain(..).zip(&node.inputs) {
            let weight = graph.tensor(&conv.weight)?;
            let from = if is_linear { [1, 1] } else { sizes(&graph.nodes[input].dims) };
            terms.push(Term { conv, weight, input, from });
        }
        Ok(Some(Self {
            terms,
            residual: node.inputs.last().copied().filter(|_| fused.residual),
            activation: fused.activation,
            is_linear,
            bias: fused.bias,
            dims: &node.dims,
        }))
    }

    /// Name of the bias, existing or new.
    pub(super) fn bias_name(&self) -> String {
        let of_weight = || self.terms.first().map_or_else(String::new, |t| bias_of(&t.conv.weight));
        self.bias.clone().unwrap_or_else(of_weight)
    }

    /// The part of the sum, before the activation, that comes from the bias and from constant channels. It has a value
    /// for each element, or for each channel if no input is constant and the bias is per channel.
    pub(super) fn constant_part(
        &self,
        graph: &Graph,
        values: &[Vec<Channel>],
        with_residual: bool,
    ) -> Result<Vec<f64>, GraphError> {
        let (to, n_channels, n) = (sizes(self.dims), channels(self.dims), pixels(self.dims));
        let bias = match &self.bias {
            Some(name) => wide(graph.tensor(name)?),
            None => vec![0.0; n_channels],
        };
        let is_constant = |node: usize| values[node].iter().any(Option::is_some);
        let terms = || self.terms.iter().filter(|term| is_constant(term.input));
        let residual = self.residual.filter(|&node| with_residual && is_constant(node));
        if terms().next().is_none() && residual.is_none() {
            return Ok(bias);
        }
        let mut sums: Vec<f64> = spread(&bias, n_channels * n).collect();
        for term in terms() {
            for (o, sums) in sums.chunks_exact_mut(n).enumerate() {
                for (i, taps) in reads(term.weight, term.conv.groups, o) {
                    if let Some(plane) = &values[term.input][i] {
                        add_plane(taps, plane, term.from, &term.conv.window, sums, to);
                    }
                }
            }
        }
        if let Some(residual) = residual {
            for (sums, plane) in sums.chunks_exact_mut(n).zip(&values[residual]) {
                let plane = plane.iter().flatten();
                sums.iter_mut().zip(plane).for_each(|(sum, x)| *sum += x);
            }
        }
        Ok(sums)
    }

    /// Whether each output channel is constant.
    pub(super) fn are_constant(&self, values: &[Vec<Channel>]) -> Vec<bool> {
        let mut are = match self.residual {
            Some(residual) => values[residual].iter().map(Option::is_some).collect(),
            None => vec![true; channels(self.dims)],
        };
        for term in &self.terms {
            for (o, is_constant) in are.iter_mut().enumerate().filter(|(_, is)| **is) {
                let mut reads = reads(term.weight, term.conv.groups, o);
                *is_constant = reads.all(|(i, _)| values[term.input][i].is_some());
            }
        }
        are
    }
}

impl Term<'_> {
    /// The weight of the kept output and input channels, with 0 for constant inputs, and its number of groups. Groups
    /// are kept or removed as a whole.
    pub(super) fn narrowed(
        &self,
        outputs: &[usize],
        inputs: &[usize],
        constants: &[Channel],
    ) -> Result<(Tensor, usize), GraphError> {
        let dims = self.weight.dims();
        let is_whole = outputs.len() == dims[0] && inputs.len() == dims[1] * self.conv.groups;
        if is_whole && constants.iter().all(Option::is_none) {
            return Ok((self.weight.clone(), self.conv.groups));
        }
        let mut is_kept = vec![false; dims[1] * self.conv.groups];
        inputs.iter().for_each(|&i| is_kept[i] = true);
        let mut values = Vec::new();
        for &o in outputs {
            let row = row(self.weight, self.conv.groups, o);
            for (i, taps) in row.filter(|(i, _)| is_kept[*i]) {
                match constants[i] {
                    Some(_) => values.extend(taps.iter().map(|_| 0.0)),
                    None => values.extend_from_slice(taps),
                }
            }
        }
        let groups = match self.conv.groups {
            1 => 1,
            groups => outputs.len() / (dims[0] / groups),
        };
        let each = inputs.len() / groups;
        let weight = Tensor::new(&[&[outputs.len(), each], &dims[2..]].concat(), values)?;
        Ok((weight, groups))
    }
}
