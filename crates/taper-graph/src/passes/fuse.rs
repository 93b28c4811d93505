//! Convolutions and what follows them, in one operation.

use super::{
    drop_unread,
    rebuild::{Rebuild, sole_readers},
    tensors,
};
use crate::{Activation, Conv, Fused, Graph, GraphError, Op, interpret::conv::biased};

/// The graph with each convolution as [`Op::Fused`], together with what follows it: the sum with another value or with
/// another convolution (a shortcut), and an activation. Values between them have no other reader.
///
/// # Errors
/// If the graph is not valid.
pub fn fuse(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    let readers = sole_readers(graph);
    // The fused operation that ends at each node, and the nodes that are part of one.
    let mut chains: Vec<Option<Chain>> = graph.nodes.iter().map(|_| None).collect();
    let mut is_part = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        if !is_part[i]
            && let Some(mut chain) = Chain::of(graph, i)
        {
            let last = chain.extend(graph, &readers, i, &mut is_part);
            chains[last] = Some(chain);
        }
    }
    for (i, chain) in chains.into_iter().enumerate() {
        match chain {
            Some(chain) => {
                let (op, inputs) = chain.op(graph, &mut rebuild, i)?;
                rebuild.replace(i, op, &inputs)?;
            }
            None if is_part[i] => {}
            None => rebuild.copy(i)?,
        }
    }
    drop_unread(&rebuild.finish()?)
}

/// Convolutions and what follows them.
struct Chain {
    /// With the nodes that they read.
    convs: Vec<(Conv, usize)>,
    biases: Vec<String>,
    residual: Option<usize>,
    activation: Option<Activation>,
}

impl Chain {
    /// A convolution, fused or not, that no activation follows yet.
    fn of(graph: &Graph, node: usize) -> Option<Self> {
        let node = &graph.nodes[node];
        let fused = match &node.op {
            Op::Conv(conv) => Fused::from(conv.clone()),
            Op::Fused(fused) if fused.activation.is_none() => fused.clone(),
            _ => return None,
        };
        let residual = node.inputs.last().copied().filter(|_| fused.residual);
        let convs = fused.convs.into_iter().zip(node.inputs.iter().copied()).collect();
        Some(Self { convs, biases: Vec::from_iter(fused.bias), residual, activation: None })
    }

    /// Takes in what follows node `first`, and gives the last node.
    fn extend(
        &mut self,
        graph: &Graph,
        readers: &[Option<usize>],
        first: usize,
        is_part: &mut [bool],
    ) -> usize {
        let mut last = first;
        is_part[first] = true;
        while let Some(reader) = readers[last]
            && self.activation.is_none()
            && !is_part[reader]
        {
            let node = &graph.nodes[reader];
            match &node.op {
                Op::Activation(activation) => self.activation = Some(*activation),
                Op::Add => {
                    let Some(&other) = node.inputs.iter().find(|&&input| input != last) else {
                        break;
                    };
                    if graph.nodes[other].dims != graph.nodes[last].dims {
                        break;
                    }
                    let shortcut = Self::of(graph, other).filter(|shortcut| {
                        let is_free = readers[other] == Some(reader) && !is_part[other];
                        is_free && (self.residual.is_none() || shortcut.residual.is_none())
                    });
                    match shortcut {
                        Some(shortcut) => {
                            self.convs.extend(shortcut.convs);
                            self.biases.extend(shortcut.biases);
                            self.residual = self.residual.or(shortcut.residual);
                            is_part[other] = true;
                        }
                        None if self.residual.is_none() => self.residual = Some(other),
                        None => break,
                    }
                }
                _ => break,
            }
            is_part[reader] = true;
            last = reader;
        }
        last
    }

    /// The operation, and the nodes that it reads.
    fn op(
        self,
        graph: &Graph,
        rebuild: &mut Rebuild,
        node: usize,
    ) -> Result<(Op, Vec<usize>), GraphError> {
        let dims = &graph.nodes[node].dims;
        let bias = match &self.biases[..] {
            [] => None,
            [name] => Some(rebuild.keep(name)?),
            [first, ..] => {
                let mut sum = biased(graph, None, dims)?;
                for name in &self.biases {
                    let bias = biased(graph, Some(name), dims)?;
                    sum.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                }
                Some(rebuild.put(first, tensors::bias(dims, &sum)?))
            }
        };
        let (mut convs, mut inputs): (Vec<Conv>, Vec<usize>) = self.convs.into_iter().unzip();
        for conv in &mut convs {
            conv.weight = rebuild.keep(&conv.weight)?;
        }
        inputs.extend(self.residual);
        let residual = self.residual.is_some();
        Ok((Op::Fused(Fused { convs, bias, residual, activation: self.activation }), inputs))
    }
}
