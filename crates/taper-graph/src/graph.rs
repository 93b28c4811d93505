//! Nodes in order, and the tensors that they name.

use crate::{GraphError, Op, Tensor, infer, tensor::n_elements};
use std::collections::BTreeMap;

/// What a network computes for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Short texts that go with the network, such as `architecture`, `classes` and `normalise`.
    pub metadata: BTreeMap<String, String>,
    /// Constants by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Operations, each after those that it reads; the first is the input.
    pub nodes: Vec<Node>,
    /// The node whose value the network gives.
    pub output: usize,
}

/// An operation, the nodes that it reads, and the shape of its value for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What messages call it, such as its name in an ONNX file; empty if it has no name.
    pub name: String,
    /// What it computes.
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

    /// A graph that gives its input, of this shape, such as `[channels, rows, columns]`.
    pub fn new(input: &[usize]) -> Self {
        let input = Node::new(Op::Input, &[], input.to_vec());
        Self {
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
            nodes: vec![input],
            output: Self::INPUT,
        }
    }

    /// Adds a constant, or replaces the one of this name.
    pub fn add_tensor(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The constant of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, GraphError> {
        infer::tensor(&self.tensors, name).map_err(GraphError::new)
    }

    /// Adds an operation behind the others, and gives its place. Its tensors must be there.
    ///
    /// # Errors
    /// If an input is not there, or the operation does not fit its inputs or tensors.
    pub fn push(&mut self, op: Op, inputs: &[usize]) -> Result<usize, GraphError> {
        let dims = self.shape_of(&op, inputs)?;
        self.nodes.push(Node::new(op, inputs, dims));
        Ok(self.nodes.len() - 1)
    }

    /// Checks what the fields allow and [`push`](Self::push) does not: the first node is the input and no other, each node
    /// fits those before it and has the shape that its operation gives, and the output is there.
    ///
    /// # Errors
    /// If one of these does not hold; the message names the node.
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

    /// A node in messages: its name, or else its place, and its operation.
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

    /// The only reader of each node, if it has one reader that reads it once; none for the output. Nodes that are read but
    /// not there, which [`check`](Self::check) refuses, have no place in the list.
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

    /// Shape of the result for one image; empty if the output is not there.
    pub fn output_dims(&self) -> &[usize] {
        self.dims(self.output)
    }

    fn dims(&self, node: usize) -> &[usize] {
        self.nodes.get(node).map_or(&[], |node| &node.dims)
    }

    /// Shape of the value of `op` behind these nodes.
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
        infer::shape(&self.tensors, op, &dims)
    }
}

impl GraphError {
    /// This error of a node, whose [`title`](Graph::title) comes first.
    pub fn at(self, graph: &Graph, node: usize) -> Self {
        Self::new(format!("{}: {self}", graph.title(node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActivationFn;

    #[test]
    fn a_graph_that_is_not_valid_is_no_panic() {
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
