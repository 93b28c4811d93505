//! The graph under construction.

use crate::{
    array::Array,
    budget::Budget,
    external::Beside,
    numbers::Numbers,
    source,
    stored::Stored,
    tensors::Tensors,
    value::{Size, Value},
};
use std::{collections::BTreeMap, rc::Rc, sync::Arc};
use taper_graph::{Graph, Op, Tensor};

/// Operators read tensors from it, and add nodes to it.
pub(crate) struct Importer {
    pub(crate) graph: Graph,
    pub(crate) budget: Budget,
    /// Batch size of the file; none if it is open.
    pub(crate) batch: Option<usize>,
    tensors: Tensors,
    /// Number of tensors with each name so far.
    copies: BTreeMap<Rc<str>, usize>,
}

impl Importer {
    pub(crate) fn new(graph: Graph, batch: Option<usize>, tensors: Tensors) -> Self {
        Self { graph, budget: Budget::new(), batch, tensors, copies: BTreeMap::new() }
    }

    /// Moves the value of a tensor out of the file, if the file has the tensor.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Value>, String> {
        let Some(stored) = self.tensors.find(name) else { return Ok(None) };
        let value = decoded(name, stored, self.tensors.beside(), &mut self.budget)?;
        self.tensors.drop(name);
        Ok(Some(value))
    }

    /// The value of a tensor in an attribute of a node.
    pub(crate) fn held(&mut self, name: &str, stored: Stored) -> Result<Value, String> {
        decoded(name, stored, self.tensors.beside(), &mut self.budget)
    }

    /// Adds an operation. Returns its node.
    pub(crate) fn add(&mut self, op: Op, inputs: &[usize]) -> Result<usize, String> {
        // The caller's message names the node already.
        let place = format!("node {} ({}): ", self.graph.nodes.len(), op.name());
        let node = self.graph.push(op, inputs).map_err(|e| {
            let message = e.to_string();
            message.strip_prefix(&place).unwrap_or(&message).to_string()
        })?;
        source::check_value(self.dims(node)).map(|()| node)
    }

    /// Adds an operation. Returns its value.
    pub(crate) fn push(&mut self, op: Op, inputs: &[usize]) -> Result<Value, String> {
        self.add(op, inputs).map(Value::Node)
    }

    /// Shape of the value of a node for one image.
    pub(crate) fn dims(&self, node: usize) -> &[usize] {
        &self.graph.nodes[node].dims
    }

    /// Adds floats as a tensor of the graph. Returns its name: `name`, with a number appended if another tensor has
    /// this name.
    pub(crate) fn tensor(&mut self, name: &Rc<str>, array: &Array<f32>) -> Result<String, String> {
        let tensor = Tensor::new(array.dims(), Arc::clone(array.values()));
        let tensor = tensor.map_err(|e| e.to_string())?;
        let mut free = name.to_string();
        while let Some(other) = self.graph.tensors.get(&free) {
            if other.dims() == tensor.dims() && std::ptr::eq(other.values(), tensor.values()) {
                return Ok(free);
            }
            let copies = self.copies.entry(Rc::clone(name)).or_insert(1);
            *copies += 1;
            free = format!("{name}.{copies}");
        }
        self.graph.add_tensor(free.clone(), tensor);
        Ok(free)
    }

    /// Adds floats as a constant node.
    pub(crate) fn constant(&mut self, name: &Rc<str>, array: &Array<f32>) -> Result<usize, String> {
        let name = self.tensor(name, array)?;
        self.add(Op::Constant(name), &[])
    }
}

/// The value of a tensor.
fn decoded(
    name: &str,
    stored: Stored,
    beside: Option<&Beside>,
    budget: &mut Budget,
) -> Result<Value, String> {
    let mut decode = || {
        let (dims, dtype) = (stored.dims()?, stored.dtype()?);
        if !dtype.is_float() {
            Budget::check_sizes(&dims)?;
        }
        match stored.numbers(&dims, beside, Some(budget))? {
            Numbers::Floats(values) => {
                Array::new(&dims, values).map(|a| Value::Floats(name.into(), a))
            }
            Numbers::Whole { values, .. } => {
                let sizes = values.into_iter().map(Size::Known).collect::<Vec<Size>>();
                Array::new(&dims, sizes).map(Value::Sizes)
            }
        }
    };
    decode().map_err(|e| format!("tensor {name}: {e}"))
}
