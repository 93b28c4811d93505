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
//! | [`optimized`] | all of them |
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

pub use affine::fold_affine;
pub use drop_dead::drop_dead;
pub use drop_unread::drop_unread;
pub use fold_constants::fold_constants;
pub use fold_norms::fold_norms;
pub use fold_pads::fold_pads;
pub use fuse::fuse;

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

#[cfg(test)]
mod tests;
