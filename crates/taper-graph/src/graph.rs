//! The graph: nodes in order, and the tensors that they name.

use crate::{GraphError, Op, Tensor, shape, tensor::n_elements};
use std::collections::BTreeMap;

/// The computation of a network for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Short texts about the network, for example `architecture`, `classes` and `normalise`.
    pub metadata: BTreeMap<String, String>,
    /// Constants by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Operations, each after the nodes that it reads; the first is the input.
    pub nodes: Vec<Node>,
    /// The node that computes the result of the network.
    pub output: usize,
}

/// An operation, the nodes that it reads, and the shape of its value for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name in messages, for example from an ONNX file; empty if it has no name.
    pub name: String,
    /// The operation.
    pub op: Op,
    /// The nodes that it reads, in order; all come before it.
    pub inputs: Vec<usize>,
    /// Shape of its value, without the batch.
    pub dims: Vec<usize>,
}

impl Node {
    /// A node without a name.
    fn new(op: Op, inputs: &[usize], dims: Vec<usize>) -> Self {
        Self { name: String::new(), op, inputs: inputs.to_vec(), dims }
    }
}

impl Graph {
    /// The node of the input.
    pub const INPUT: usize = 0;

    /// A graph that returns its input. `input` is the shape, for example `[channels, rows, columns]`.
    pub fn new(input: &[usize]) -> Self {
        let input = Node::new(Op::Input, &[], input.to_vec());
        Self {
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
            nodes: vec![input],
            output: Self::INPUT,
        }
    }

    /// Adds a constant, or replaces the constant of this name.
    pub fn add_tensor(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The constant of this name.
    ///
    /// # Errors
    /// If no constant has this name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, GraphError> {
        shape::tensor(&self.tensors, name).map_err(GraphError::new)
    }

    /// Appends an operation, and returns its index. Its tensors must be in the graph.
    ///
    /// # Errors
    /// If an input does not exist, or the operation does not fit its inputs or tensors.
    pub fn push(&mut self, op: Op, inputs: &[usize]) -> Result<usize, GraphError> {
        let dims = self.shape_of(&op, inputs)?;
        self.nodes.push(Node::new(op, inputs, dims));
        Ok(self.nodes.len() - 1)
    }

    /// Checks a graph that was not built only by [`push`](Self::push). The first node, and no other, must be the
    /// input; each node must fit the nodes before it, and have the shape of its operation; the output must exist.
    ///
    /// # Errors
    /// If one of these conditions does not hold; the message names the node.
    pub fn check(&self) -> Result<(), GraphError> {
        let Some((input, nodes)) = self.nodes.split_first() else {
            return Err(GraphError::new("the graph has no input"));
        };
        if input.op != Op::Input || !input.inputs.is_empty() {
            return Err(GraphError::new("the first node is not the input"));
        }
        if n_elements(&input.dims).is_none() {
            return Err(GraphError::new(format!("the shape {:?} is too large", input.dims)));
        }
        let mut before = Self::new(&input.dims);
        before.tensors.clone_from(&self.tensors);
        for (i, node) in nodes.iter().enumerate() {
            let fail = |message: String| GraphError::new(message).at(self, i + 1);
            let expected = before.fit(&node.op, &node.inputs).map_err(fail)?;
            if node.dims != expected {
                return Err(fail(format!("its shape is {:?} instead of {expected:?}", node.dims)));
            }
            before.nodes.push(node.clone());
        }
        if self.output >= self.nodes.len() {
            let (output, n) = (self.output, self.nodes.len());
            return Err(GraphError::new(format!("the output is node {output} of {n} nodes")));
        }
        Ok(())
    }

    /// The title of a node in messages: its name, or its index if it has no name, and its operation.
    ///
    /// ```
    /// use taper_graph::{ActivationFn, Graph, Op};
    ///
    /// let mut graph = Graph::new(&[1, 2, 2]);
    /// let node = graph.push(Op::Activation(ActivationFn::Relu), &[Graph::INPUT])?;
    /// assert_eq!(graph.title(node), "node 1 (activation)");
    /// graph.nodes[node].name = "relu".into();
    /// assert_eq!(graph.title(node), "node `relu` (activation)");
    /// # Ok::<(), taper_graph::GraphError>(())
    /// ```
    pub fn title(&self, node: usize) -> String {
        match self.nodes.get(node) {
            Some(Node { name, op, .. }) if name.is_empty() => {
                format!("node {node} ({})", op.name())
            }
            Some(Node { name, op, .. }) => format!("node `{name}` ({})", op.name()),
            None => format!("node {node}"),
        }
    }

    /// For each node, the only node that reads it. `None` if several nodes read it, if one node reads it twice, or if
    /// it is the output. Inputs that do not exist are ignored; [`check`](Self::check) rejects them.
    pub fn sole_readers(&self) -> Vec<Option<usize>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                if let Some(readers) = readers.get_mut(input) {
                    readers.push(i);
                }
            }
        }
        if let Some(readers) = readers.get_mut(self.output) {
            readers.clear();
        }
        let sole = |readers: Vec<usize>| match readers[..] {
            [reader] => Some(reader),
            _ => None,
        };
        readers.into_iter().map(sole).collect()
    }

    /// Shape of an image; empty if the graph has no nodes.
    pub fn input_dims(&self) -> &[usize] {
        self.dims(Self::INPUT)
    }

    /// Shape of the result for one image; empty if the output does not exist.
    pub fn output_dims(&self) -> &[usize] {
        self.dims(self.output)
    }

    fn dims(&self, node: usize) -> &[usize] {
        self.nodes.get(node).map_or(&[], |node| &node.dims)
    }

    /// Shape of the value of `op` on these inputs.
    pub(crate) fn shape_of(&self, op: &Op, inputs: &[usize]) -> Result<Vec<usize>, GraphError> {
        let at = self.nodes.len();
        self.fit(op, inputs)
            .map_err(|message| GraphError::new(format!("node {at} ({}): {message}", op.name())))
    }

    /// Like [`shape_of`](Self::shape_of), with messages that do not name the node.
    fn fit(&self, op: &Op, inputs: &[usize]) -> Result<Vec<usize>, String> {
        let mut dims = Vec::with_capacity(inputs.len());
        for &input in inputs {
            match self.nodes.get(input) {
                Some(node) => dims.push(&node.dims[..]),
                None => {
                    return Err(format!("it reads node {input}, which does not come before it"));
                }
            }
        }
        shape::shape(&self.tensors, op, &dims)
    }
}

impl GraphError {
    /// This error with the [`title`](Graph::title) of a node in front.
    pub fn at(self, graph: &Graph, node: usize) -> Self {
        Self::new(format!("{}: {self}", graph.title(node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActivationFn;

    #[test]
    fn an_invalid_graph_does_not_panic() {
        let mut graph = Graph::new(&[1, 2, 2]);
        graph.output = graph.push(Op::Activation(ActivationFn::Relu), &[0]).unwrap();
        assert_eq!(graph.sole_readers(), [Some(1), None]);
        graph.nodes[1].inputs = vec![0, 7, usize::MAX];
        graph.output = 7;
        assert_eq!(graph.sole_readers(), [Some(1), None]);
        assert_eq!((graph.input_dims(), graph.output_dims()), (&[1, 2, 2][..], &[][..]));
        assert_eq!(graph.title(7), "node 7");
        graph.nodes.clear();
        assert_eq!((graph.sole_readers().len(), graph.input_dims().len()), (0, 0));
        assert!(graph.check().is_err());
    }
}
