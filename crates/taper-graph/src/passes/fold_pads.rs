//! Borders of 0 as padding.

use super::drop_unread;
use crate::{Conv, Graph, GraphError, Op, Pad, Window};

/// The graph with each border of 0 before a convolution in the convolution's padding.
///
/// # Errors
/// If the graph is not valid.
pub fn fold_pads(graph: &Graph) -> Result<Graph, GraphError> {
    graph.check()?;
    let mut folded = graph.clone();
    for node in &mut folded.nodes {
        let convs: &mut [Conv] = match &mut node.op {
            Op::Conv(conv) => std::slice::from_mut(conv),
            Op::Fused(fused) => &mut fused.convs,
            _ => continue,
        };
        for (conv, input) in convs.iter_mut().zip(&mut node.inputs) {
            while let Some((window, before)) = without_pad(graph, &conv.window, *input) {
                (conv.window, *input) = (window, before);
            }
        }
    }
    drop_unread(&folded)
}

/// The windows on what a border surrounds, and the node of that.
fn without_pad(graph: &Graph, window: &Window, input: usize) -> Option<(Window, usize)> {
    let node = graph.nodes.get(input)?;
    let (Op::Pad(Pad { sizes, value: 0.0 }), &[before]) = (&node.op, &node.inputs[..]) else {
        return None;
    };
    let mut window = *window;
    for (padding, &size) in window.padding.iter_mut().zip(sizes) {
        *padding = padding.checked_add(size)?;
    }
    Some((window, before))
}
