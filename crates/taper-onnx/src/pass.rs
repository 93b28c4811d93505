//! Converts the messages of a file to a graph, in one pass over the nodes.

use crate::{
    OnnxError,
    attributes::Attributes,
    budget::Budget,
    call::Call,
    importer::Importer,
    operators, patterns,
    proto::{self, ModelProto},
    source,
    tensors::{self, Tensors},
    value::Value,
};
use std::{collections::BTreeMap, path::Path};
use taper_graph::Graph;

/// Reads a graph. Data in other files are next to `file`. If the file leaves them open, `image` has the sizes of an
/// image, and `output` is the name of the output to compute.
pub(crate) fn import(
    model: ModelProto,
    file: Option<&Path>,
    image: Option<[usize; 3]>,
    output: Option<&str>,
) -> Result<Graph, OnnxError> {
    let opset = source::opset(&model)?;
    let source = model.graph.unwrap_or_default();
    source::check_names(&source)?;
    let input = source::input(&source, image)?;
    let output = source::output(&source, output)?;
    let proto::GraphProto { node: nodes, initializer, sparse_initializer, .. } = source;
    let tensors = Tensors::of(initializer, sparse_initializer, file);
    tensors.check_external()?;
    let mut graph = Graph::new(&input.dims);
    graph.nodes[Graph::INPUT].name.clone_from(&input.name);
    let values = BTreeMap::from([(&*input.name, Value::Node(Graph::INPUT))]);
    let mut pass = Pass { importer: Importer::new(graph, input.batch, tensors), opset, values };
    for node in source::needed(&nodes, &output) {
        pass.node(node).map_err(|e| format!("{}: {e}", source::title(node)))?;
    }
    let Pass { importer: Importer { mut graph, .. }, values, .. } = pass;
    graph.output = match values.get(&*output) {
        Some(Value::Node(node)) => *node,
        Some(_) => return Err(format!("its output `{output}` does not depend on the image").into()),
        None => return Err(format!("no node computes its output `{output}`").into()),
    };
    let mut graph = patterns::simplify(&graph).map_err(|e| e.to_string())?;
    graph.metadata = tensors::metadata(model.metadata_props);
    Ok(graph)
}

/// The state of the pass.
struct Pass<'a> {
    importer: Importer,
    opset: i64,
    values: BTreeMap<&'a str, Value>,
}

impl<'a> Pass<'a> {
    fn node(&mut self, node: &'a proto::NodeProto) -> Result<(), String> {
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
            let has_further_outputs = node.output.iter().skip(1).any(|name| !name.is_empty());
            let call =
                Call { output, at, n_outputs, has_further_outputs, inputs, attributes, opset };
            let first = self.importer.graph.nodes.len();
            let value = (operator.import)(&mut self.importer, &call)?;
            let added = self.importer.graph.nodes.iter_mut().skip(first);
            added.for_each(|added| source::name(node).clone_into(&mut added.name));
            call.attributes.finish()?;
            if let Value::Sizes(array) = &value {
                Budget::check_sizes(array.dims())?;
            }
            self.values.insert(output, value);
        }
        Ok(())
    }

    /// The value with this name.
    fn value(&mut self, name: &'a str) -> Result<Value, String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let Some(value) = self.importer.take(name)? else {
            return Err(format!("it reads `{name}`, which is not defined before it"));
        };
        self.values.insert(name, value.clone());
        Ok(value)
    }
}
