//! Passes: functions from a graph to an equivalent graph.
//!
//! | pass | effect |
//! | --- | --- |
//! | [`drop_unread()`] | removes nodes and tensors that the output does not need |
//! | [`fold_constants()`] | replaces nodes that read only constants by constants |
//! | [`fold_pads()`] | turns borders of 0 into padding of convolutions |
//! | [`fold_norms()`] | folds batch norm into the weights and biases before it |
//! | [`fold_affine`] | folds batch norm, and sums and products with constants |
//! | [`fuse()`] | fuses bias, residual input, shortcut and activation with their convolution |
//! | [`drop_dead()`] | removes channels that have no effect, or a constant effect |
//! | [`unfuse()`] | splits fused operations into their parts |
//! | [`optimized`] | all of these except `unfuse`, for an engine |
//! | [`shrink`] | `drop_dead` and `unfuse`, for a smaller network in a file |
//!
//! Finite values stay equal up to rounding. Tensors keep their names. If other nodes still read the old values, the
//! changed tensor gets a new name. Tensors that nothing reads are removed.

mod affine;
mod drop_dead;
mod drop_unread;
mod fold_constants;
mod fold_norms;
mod fold_pads;
mod fuse;
mod rebuild;
mod tensors;
mod unfuse;

pub use affine::fold_affine;
pub use drop_dead::drop_dead;
pub use drop_unread::drop_unread;
pub use fold_constants::fold_constants;
pub use fold_norms::fold_norms;
pub use fold_pads::fold_pads;
pub use fuse::fuse;
pub use unfuse::unfuse;

use crate::{Graph, GraphError};

/// The graph after all passes except [`unfuse()`]. An engine compiles this graph.
///
/// # Errors
/// If the graph is not valid.
pub fn optimized(graph: &Graph) -> Result<Graph, GraphError> {
    let graph = fold_constants(&drop_unread(graph)?)?;
    let graph = fuse(&fold_affine(&fold_pads(&graph)?)?)?;
    // Elimination creates constants, which can be folded and fused again.
    let graph = drop_dead(&graph)?;
    fuse(&fold_affine(&fold_constants(&graph)?)?)
}

/// A smaller graph with equal results. It has no dead channels ([`drop_dead()`]), and only operations that the file
/// formats of other tools can represent ([`unfuse()`]). Layers keep the names of their weights.
///
/// A channel is dead if all weights that produce it are 0, if nothing reads it, or if it depends on constants only. The
/// contribution of a dead channel to its readers becomes their bias. The bias is per pixel where padding makes borders
/// differ. Channels that a residual sum ties to live channels stay. The channels of the image and of the output stay,
/// too.
///
/// ```
/// use taper_graph::{ActivationFn, Conv, Graph, Op, Tensor, Window, interpret, passes};
///
/// // The second of three filters is dead: its output is its bias, 2.
/// let mut graph = Graph::new(&[1, 2, 2]);
/// graph.add_tensor("a.weight", Tensor::new(&[3, 1, 1, 1], [1.0, 0.0, -1.0])?);
/// graph.add_tensor("a.bias", Tensor::new(&[3], [0.0, 2.0, 0.0])?);
/// graph.add_tensor("b.weight", Tensor::new(&[1, 3, 1, 1], [1.0, 4.0, 5.0])?);
/// let conv = |name: &str| Conv::new(format!("{name}.weight"), Window::same(1));
/// let first = Conv { bias: Some("a.bias".into()), ..conv("a") };
/// let x = graph.push(Op::Conv(first), &[Graph::INPUT])?;
/// let x = graph.push(Op::Activation(ActivationFn::Relu), &[x])?;
/// graph.output = graph.push(Op::Conv(conv("b")), &[x])?;
///
/// let small = passes::shrink(&graph)?;
/// assert_eq!(small.tensor("a.weight")?.dims(), [2, 1, 1, 1]);
/// assert_eq!(small.tensor("b.weight")?.values(), [1.0, 5.0]);
/// assert_eq!(small.tensor("b.bias")?.values(), [8.0]);
/// let image = [0.5, -1.0, 2.0, 0.0];
/// assert_eq!(interpret(&small, &image)?, interpret(&graph, &image)?);
/// # Ok::<(), taper_graph::GraphError>(())
/// ```
///
/// # Errors
/// If the graph is not valid, has an empty value, or has values of more than 2²⁷ elements in all.
pub fn shrink(graph: &Graph) -> Result<Graph, GraphError> {
    let graph = drop_unread(graph)?;
    match drop_dead::refusal(&graph) {
        Some(reason) => Err(GraphError::new(format!("the network cannot be shrunk: {reason}"))),
        None => unfuse(&drop_dead(&graph)?),
    }
}

#[cfg(test)]
mod tests;
