//! Evaluation of what depends on no image.

use super::{drop_unread, rebuild::Rebuild};
use crate::{
    Graph, GraphError, Op, Tensor,
    interpret::{Value, value_of},
    tensor::n_elements,
};
use std::collections::BTreeMap;

/// Elements of a constant that may be made of fewer: enough for any that a network needs, too few to fill the memory.
const ELEMENTS: usize = 1 << 20;

/// The graph with a constant in the place of each node that reads constants alone.
///
/// A result of more than 2²⁰ elements stays uncomputed if it is larger than its inputs.
///
/// # Errors
/// If the graph is not valid.
pub fn fold_constants(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph)?;
    let mut constants: BTreeMap<usize, Tensor> = BTreeMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if let Op::Constant(name) = &node.op {
            constants.insert(i, graph.tensor(name)?.clone());
        }
        let inputs: Option<Vec<Value>> =
            node.inputs.iter().map(|input| constants.get(input).map(Value::from)).collect();
        let of_constants = inputs.filter(|inputs| {
            let read = inputs.iter().map(|input| input.values.len()).sum();
            !inputs.is_empty() && n_elements(&node.dims).is_some_and(|n| n <= ELEMENTS.max(read))
        });
        let Some(inputs) = of_constants else {
            rebuild.copy(i)?;
            continue;
        };
        let tensor = Tensor::new(&node.dims, value_of(graph, node, &inputs)?)?;
        let name = rebuild.put(&format!("constant.{i}"), tensor.clone());
        rebuild.replace(i, Op::Constant(name), &[])?;
        constants.insert(i, tensor);
    }
    drop_unread(&rebuild.finish()?)
}
