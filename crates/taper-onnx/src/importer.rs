//! From the messages of a file to a graph: one pass over its nodes.

use crate::{
    OnnxError, Options,
    array::Array,
    attributes::Attributes,
    budget::Budget,
    call::Call,
    external::Beside,
    numbers::Numbers,
    operators, patterns,
    proto::{self, Model},
    source,
    stored::Stored,
    tensors::{self, Tensors},
    value::{Size, Value},
};
use std::{collections::BTreeMap, path::Path, rc::Rc, sync::Arc};
use taper_graph::{Graph, Op, Tensor};

/// Reads a graph; data in other files are beside `file`.
pub(crate) fn import(
    model: Model,
    file: Option<&Path>,
    options: &Options,
) -> Result<Graph, OnnxError> {
    let opset = source::opset(&model)?;
    let source = model.graph.unwrap_or_default();
    source::check_names(&source)?;
    let input = source::input(&source, options.image)?;
    let output = source::output(&source, options.output.as_deref())?;
    let proto::Graph { node: nodes, initializer, sparse_initializer, .. } = source;
    let tensors = Tensors::of(initializer, sparse_initializer, file);
    tensors.check_external()?;
    let mut graph = Graph::new(&input.dims);
    graph.nodes[Graph::INPUT].name.clone_from(&input.name);
    let mut importer = Importer {
        graph,
        budget: Budget::new(),
        batch: input.batch,
        opset,
        tensors,
        values: BTreeMap::from([(&*input.name, Value::Node(Graph::INPUT))]),
        copies: BTreeMap::new(),
    };
    for node in source::needed(&nodes, &output) {
        importer.node(node).map_err(|e| format!("{}: {e}", source::title(node)))?;
    }
    importer.graph.output = match importer.values.get(&*output) {
        Some(Value::Node(node)) => *node,
        Some(_) => return Err(format!("its output `{output}` does not depend on the image").into()),
        None => return Err(format!("its output `{output}` is computed by no node").into()),
    };
    let mut graph = patterns::simplify(&importer.graph).map_err(|e| e.to_string())?;
    graph.metadata = tensors::metadata(model.metadata_props);
    Ok(graph)
}

/// The state of the pass.
pub(crate) struct Importer<'a> {
    pub(crate) graph: Graph,
    pub(crate) budget: Budget,
    /// Number of images that the file is written for; any if it is open.
    pub(crate) batch: Option<usize>,
    opset: i64,
    tensors: Tensors,
    values: BTreeMap<&'a str, Value>,
    /// Copies of a tensor's name that have been given.
    copies: BTreeMap<Rc<str>, usize>,
}

impl<'a> Importer<'a> {
    fn node(&mut self, node: &'a proto::Node) -> Result<(), String> {
        let operator = operators::find(node)?;
        if node.input.len() > operator.max_inputs {
            let (n, most) = (node.input.len(), operator.max_inputs);
            return Err(format!("it has {n} inputs, more than {most}"));
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(if name.is_empty() { None } else { Some(self.value(name)?) });
        }
        if node.output.first().is_none_or(String::is_empty) {
            return Err("it has no output".into());
        }
        let outputs = node.output.iter().take(operator.max_outputs).enumerate();
        for (at, output) in outputs.filter(|(_, name)| !name.is_empty()) {
            let (attributes, inputs) = (Attributes::of(node)?, inputs.clone());
            let (n_outputs, opset) = (node.output.len(), self.opset);
            let call = Call { output, at, n_outputs, inputs, attributes, opset };
            let first = self.graph.nodes.len();
            let value = (operator.import)(self, &call)?;
            let added = self.graph.nodes.iter_mut().skip(first);
            added.for_each(|added| source::name(node).clone_into(&mut added.name));
            call.attributes.finish()?;
            if let Value::Sizes(array) = &value {
                Budget::check_sizes(array.dims())?;
            }
            self.values.insert(output, value);
        }
        Ok(())
    }

    /// The value of a name that a node reads.
    fn value(&mut self, name: &'a str) -> Result<Value, String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let Some(stored) = self.tensors.find(name) else {
            return Err(format!("it reads `{name}`, which nothing before it gives"));
        };
        let value = decoded(name, stored, self.tensors.beside(), &mut self.budget)?;
        self.tensors.drop(name);
        self.values.insert(name, value.clone());
        Ok(value)
    }

    /// The numbers of a tensor that a node holds.
    pub(crate) fn held(&mut self, name: &str, stored: Stored) -> Result<Value, String> {
        decoded(name, stored, self.tensors.beside(), &mut self.budget)
    }

    /// Adds an operation; gives its node.
    pub(crate) fn add(&mut self, op: Op, inputs: &[usize]) -> Result<usize, String> {
        // The message has a name for the node already.
        let place = format!("node {} ({}): ", self.graph.nodes.len(), op.name());
        let node = self.graph.push(op, inputs).map_err(|e| {
            let message = e.to_string();
            message.strip_prefix(&place).unwrap_or(&message).to_string()
        })?;
        source::check_value(self.dims(node)).map(|()| node)
    }

    /// Adds an operation; gives its value.
    pub(crate) fn push(&mut self, op: Op, inputs: &[usize]) -> Result<Value, String> {
        self.add(op, inputs).map(Value::Node)
    }

    /// Shape of the value of a node for one image.
    pub(crate) fn dims(&self, node: usize) -> &[usize] {
        &self.graph.nodes[node].dims
    }

    /// Adds floats as a tensor of the graph; gives its name, which is `name` or a copy's.
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

    /// Adds floats as a node.
    pub(crate) fn constant(&mut self, name: &Rc<str>, array: &Array<f32>) -> Result<usize, String> {
        let name = self.tensor(name, array)?;
        self.add(Op::Constant(name), &[])
    }
}

/// A value that a tensor holds.
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
