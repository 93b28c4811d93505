//! Fuses convolutions with the sums and activations that follow them.

use super::{
    drop_unread,
    rebuild::Rebuild,
    tensors::{self, spread},
};
use crate::{ActivationFn, Conv, Fused, Graph, GraphError, Op};

/// Turns each convolution into an [`Op::Fused`], together with the operations that follow it: the sum with another
/// value or with another convolution (a shortcut), and an activation. Intermediate values must have no other reader.
///
/// # Errors
/// If the graph is not valid.
pub fn fuse(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    let readers = graph.sole_readers();
    // For each node, the fused operation that ends there, and whether the node is part of one.
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
                let first = chain.first;
                let (op, inputs) = chain.op(graph, &mut rebuild, i)?;
                let inputs = rebuild.places(&inputs)?;
                let place = rebuild.push(first, op, &inputs)?;
                rebuild.stand(i, place);
            }
            None if is_part[i] => {}
            None => rebuild.copy(i)?,
        }
    }
    drop_unread(&rebuild.finish()?)
}

/// Convolutions and the operations that follow them.
struct Chain {
    /// The node of the first convolution.
    first: usize,
    /// The convolutions, with the nodes that they read.
    convs: Vec<(Conv, usize)>,
    biases: Vec<String>,
    residual: Option<usize>,
    activation: Option<ActivationFn>,
}

impl Chain {
    /// The chain of a convolution, fused or not, without activation; `None` for other nodes.
    fn of(graph: &Graph, first: usize) -> Option<Self> {
        let node = &graph.nodes[first];
        let fused = match &node.op {
            Op::Conv(conv) => Fused::from(conv.clone()),
            Op::Fused(fused) if fused.activation.is_none() => fused.clone(),
            _ => return None,
        };
        let residual = node.inputs.last().copied().filter(|_| fused.residual);
        let convs = fused.convs.into_iter().zip(node.inputs.iter().copied()).collect();
        let biases = Vec::from_iter(fused.bias);
        Some(Self { first, convs, biases, residual, activation: None })
    }

    /// Adds the operations that follow node `first`, and returns the last node.
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
            [first, rest @ ..] => {
                let mut sum = tensors::wide(graph.tensor(first)?);
                for name in rest {
                    let bias = tensors::wide(graph.tensor(name)?);
                    let n = sum.len().max(bias.len());
                    sum = spread(&sum, n).zip(spread(&bias, n)).map(|(a, b)| a + b).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::tests::{conv, ops, passed, push, relu, values};

    fn fused(graph: &Graph, node: usize) -> &Fused {
        match &graph.nodes[node].op {
            Op::Fused(fused) => fused,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_residual_block_is_two_operations() {
        let mut graph = Graph::new(&[1, 2, 2]);
        let x = conv(&mut graph, "a", 0, [1, 1, 3, 3], &[1.0; 9], &[0.5]);
        let x = relu(&mut graph, x);
        let inner = conv(&mut graph, "b", x, [1, 1, 3, 3], &[-1.0; 9], &[]);
        let sum = push(&mut graph, Op::Add, &[x, inner]);
        graph.output = relu(&mut graph, sum);
        let passed = passed(fuse, &graph);
        assert_eq!(ops(&passed), ["fused convolution"; 2]);
        assert_eq!(fused(&passed, 1).bias.as_deref(), Some("a.bias"));
        assert!(!fused(&passed, 1).residual && fused(&passed, 2).residual);
        assert_eq!(fused(&passed, 2).bias, None);
        assert_eq!(fused(&passed, 2).activation, Some(ActivationFn::Relu));
        assert_eq!(passed.nodes[2].inputs, [1, 1]);
    }

    #[test]
    fn a_shortcut_is_a_second_convolution_and_biases_are_added() {
        let mut graph = Graph::new(&[1, 1, 2]);
        let a = conv(&mut graph, "a", 0, [2, 1, 3, 3], &[1.0; 18], &[1.0, 2.0]);
        let b = conv(&mut graph, "b", 0, [2, 1, 1, 1], &[1.0; 2], &[10.0, 20.0]);
        graph.output = push(&mut graph, Op::Add, &[b, a]);
        let passed = passed(fuse, &graph);
        assert_eq!(ops(&passed), ["fused convolution"]);
        let weights = fused(&passed, 1).convs.iter().map(|conv| &*conv.weight);
        assert_eq!(weights.collect::<Vec<_>>(), ["a.weight", "b.weight"]);
        assert_eq!(values(&passed, "a.bias"), [11.0, 22.0]);
        assert_eq!(passed.tensors.len(), 3);
    }

    #[test]
    fn values_with_another_reader_stay() {
        let mut graph = Graph::new(&[1, 1, 2]);
        let a = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[2.0], &[]);
        let active = relu(&mut graph, a);
        let doubled = push(&mut graph, Op::Add, &[active, active]);
        graph.output = push(&mut graph, Op::Add, &[a, doubled]);
        assert_eq!(ops(&passed(fuse, &graph)), ["fused convolution", "activation", "add", "add"]);
    }

    #[test]
    fn a_second_residual_input_stays() {
        let mut graph = Graph::new(&[1, 1, 2]);
        let a = conv(&mut graph, "a", 0, [1, 1, 1, 1], &[2.0], &[]);
        let once = push(&mut graph, Op::Add, &[a, 0]);
        let twice = push(&mut graph, Op::Add, &[0, once]);
        let b = conv(&mut graph, "b", 0, [1, 1, 1, 1], &[3.0], &[]);
        graph.output = push(&mut graph, Op::Add, &[twice, b]);
        // The second convolution adds the second residual input.
        let passed = passed(fuse, &graph);
        assert_eq!(ops(&passed), ["fused convolution", "add", "fused convolution"]);
        assert!(fused(&passed, 1).residual && fused(&passed, 3).residual);
    }
}
