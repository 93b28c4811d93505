//! Constant folding: evaluates nodes that do not depend on the image.

use super::{drop_unread, rebuild::Rebuild};
use crate::{
    Graph, GraphError, Op, Tensor,
    interpret::{Value, value_of},
    tensor::n_elements,
};
use std::collections::BTreeMap;

/// Largest number of elements of a computed constant that is larger than its inputs. Networks need no larger constants,
/// and a small file could otherwise fill the memory.
const ELEMENTS: usize = 1 << 16;

/// Replaces each node that reads only constants by a constant.
///
/// A result of more than 2¹⁶ elements is not computed if it is larger than each of its inputs.
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
            let largest = inputs.iter().map(|input| input.values.len()).max();
            let n = n_elements(&node.dims);
            largest.zip(n).is_some_and(|(largest, n)| n <= ELEMENTS.max(largest))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::tests::{constant, ops, passed, push, values};

    #[test]
    fn nodes_that_read_only_constants_become_constants() {
        let mut graph = Graph::new(&[2, 1, 1]);
        let a = constant(&mut graph, "a", &[2, 1, 1], &[1.0, 2.0]);
        let b = constant(&mut graph, "b", &[1, 1, 1], &[10.0]);
        let product = push(&mut graph, Op::Multiply, &[a, b]);
        let sum = push(&mut graph, Op::Add, &[product, b]);
        graph.output = push(&mut graph, Op::Add, &[0, sum]);
        let passed = passed(fold_constants, &graph);
        assert_eq!(ops(&passed), ["constant", "add"]);
        assert_eq!(values(&passed, "constant.4"), [20.0, 30.0]);
        assert_eq!(passed.tensors.len(), 1);
    }

    #[test]
    fn a_large_result_of_small_constants_is_not_computed() {
        let mut graph = Graph::new(&[1, 1, 1]);
        let a = constant(&mut graph, "a", &[1, 1, 1], &[1.0]);
        let large = push(&mut graph, Op::Upsample { factors: [1 << 20, 1 << 20] }, &[a]);
        graph.output = push(&mut graph, Op::GlobalAverage, &[large]);
        assert_eq!(
            ops(&fold_constants(&graph).unwrap()),
            ["constant", "upsample", "global average pool"]
        );
    }
}
