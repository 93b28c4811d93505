//! Builds a graph from another graph, node by node.

use crate::{Graph, GraphError, Op, Tensor};
use std::collections::BTreeMap;

/// The graph under construction. It contains only the tensors of its nodes.
pub(super) struct Rebuild<'a> {
    old: &'a Graph,
    new: Graph,
    /// For each old node, the new node that replaces it.
    places: Vec<Option<usize>>,
    /// Number of uses of each tensor in the old graph.
    readers: BTreeMap<&'a str, usize>,
    /// The largest suffix of the changed copies of a tensor, by its name.
    last: BTreeMap<String, u64>,
}

/// Number of the last copies of a tensor that a further copy is compared with. A file can have any number of copies.
const COMPARED: u64 = 8;

impl<'a> Rebuild<'a> {
    /// A graph with the input and metadata of `old`, which must be valid.
    pub(super) fn new(old: &'a Graph) -> Result<Self, GraphError> {
        old.check()?;
        let mut new = Graph::new(old.input_dims());
        new.metadata.clone_from(&old.metadata);
        new.nodes[Graph::INPUT].name.clone_from(&old.nodes[Graph::INPUT].name);
        let mut places = vec![None; old.nodes.len()];
        places[Graph::INPUT] = Some(Graph::INPUT);
        let mut readers = BTreeMap::new();
        for name in old.nodes.iter().flat_map(|node| node.op.tensors()) {
            *readers.entry(name).or_insert(0) += 1;
        }
        Ok(Self { old, new, places, readers, last: BTreeMap::new() })
    }

    /// The new node that replaces an old node.
    pub(super) fn place(&self, node: usize) -> Result<usize, GraphError> {
        let missing = || GraphError::new(format!("node {node} is read but not computed"));
        self.places.get(node).copied().flatten().ok_or_else(missing)
    }

    /// The new nodes that replace old nodes.
    pub(super) fn places(&self, nodes: &[usize]) -> Result<Vec<usize>, GraphError> {
        nodes.iter().map(|&node| self.place(node)).collect()
    }

    /// Records that the new node `place` replaces the old node `node`.
    pub(super) fn stand(&mut self, node: usize, place: usize) {
        self.places[node] = Some(place);
    }

    /// Adds a tensor, and returns its name: `name`, or `name.1`, `name.2` … if that is the name of another tensor.
    pub(super) fn put(&mut self, name: &str, tensor: Tensor) -> String {
        let mut free = name.to_string();
        let last = self.last.get(name).copied().unwrap_or(0);
        for n in last.saturating_sub(COMPARED).max(1).. {
            let is_shared = self.readers.get(&*free).is_some_and(|&readers| readers > 1)
                && self.old.tensors.get(&free) != Some(&tensor);
            match self.new.tensors.get(&free) {
                Some(other) if *other == tensor => break,
                None if !is_shared => {
                    self.new.add_tensor(&free, tensor);
                    if n - 1 > last && free != name {
                        self.last.insert(name.to_string(), n - 1);
                    }
                    break;
                }
                _ => free = format!("{name}.{n}"),
            }
        }
        free
    }

    /// Adds a tensor of the old graph, and returns its name.
    pub(super) fn keep(&mut self, name: &str) -> Result<String, GraphError> {
        let tensor = self.old.tensor(name)?.clone();
        Ok(self.put(name, tensor))
    }

    /// Adds an operation on new tensors and nodes, with the name of the old node `node`.
    pub(super) fn push(
        &mut self,
        node: usize,
        op: Op,
        inputs: &[usize],
    ) -> Result<usize, GraphError> {
        let place = self.new.push(op, inputs)?;
        self.new.nodes[place].name.clone_from(&self.old.nodes[node].name);
        Ok(place)
    }

    /// Replaces an old node by an operation on new tensors and old nodes.
    pub(super) fn replace(
        &mut self,
        node: usize,
        op: Op,
        inputs: &[usize],
    ) -> Result<(), GraphError> {
        let inputs = self.places(inputs)?;
        let place = self.push(node, op, &inputs)?;
        self.stand(node, place);
        Ok(())
    }

    /// Copies a node with its tensors. The new graph already has the input.
    pub(super) fn copy(&mut self, node: usize) -> Result<(), GraphError> {
        let old = &self.old.nodes[node];
        if node == Graph::INPUT {
            return Ok(());
        }
        let mut op = old.op.clone();
        for name in op.tensors_mut() {
            *name = self.keep(name)?;
        }
        self.replace(node, op, &old.inputs)
    }

    /// The new graph.
    pub(super) fn finish(mut self) -> Result<Graph, GraphError> {
        self.new.output = self.place(self.old.output)?;
        Ok(self.new)
    }
}
