//! Functions from a graph to another one that computes the same.
//!
//! | pass | effect |
//! | --- | --- |
//! | [`drop_unread()`] | without nodes and tensors that the output does not need |
//! | [`fold_constants()`] | nodes that read constants alone become constants |
//! | [`fold_pads()`] | borders of 0 become padding of convolutions |
//! | [`fold_norms()`] | batch norm goes into the weights and biases before it |
//! | [`fold_affine`] | so do sums and products with constants |
//! | [`fuse()`] | bias, residual input, shortcut and activation join their convolution |
//! | [`drop_dead()`] | without channels that have no effect, or a constant one |
//! | [`unfuse()`] | fused operations become the ones that they are made of |
//! | [`optimized`] | all of these but `unfuse`: what an engine compiles |
//! | [`shrink`] | `drop_dead` and `unfuse`: a smaller network for files |
//!
//! Values stay equal up to rounding where they are finite. Names of tensors stay, but for a tensor that other nodes read
//! unchanged: its changed form has a name of its own. Tensors that nothing reads are left out.

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

/// The graph after all passes: what an engine compiles.
///
/// # Errors
/// If the graph is not valid.
pub fn optimized(graph: &Graph) -> Result<Graph, GraphError> {
    let graph = fold_constants(&drop_unread(graph)?)?;
    let graph = fuse(&fold_affine(&fold_pads(&graph)?)?)?;
    // Constants that it has made can be folded and fused in turn.
    let graph = drop_dead(&graph)?;
    fuse(&fold_affine(&fold_constants(&graph)?)?)
}

/// A smaller graph with equal results: without channels that have no effect on the output, or a constant one, as
/// [`drop_dead()`] finds them, and of operations that files of other tools can say. Layers keep the names of their weights.
///
/// A channel is dead if all weights that make it are 0, if nothing reads it, or if all that it is made of is constant. What
/// a dead channel gives to its readers becomes their bias; it is a constant of each pixel behind padding, where borders
/// differ. Channels that a residual sum ties to live ones stay, and so do those of the image and of the output.
///
/// ```
/// use taper_graph::{ActivationFn, Conv, Graph, Op, Tensor, Window, interpret, passes};
///
/// // The second of three filters is dead: it gives its bias, 2.
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
