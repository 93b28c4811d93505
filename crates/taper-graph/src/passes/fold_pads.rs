//! Folds borders of 0 into the padding of convolutions.

use super::drop_unread;
use crate::{Conv, Graph, GraphError, Op, Pad, Window};

/// Folds each border of 0 before a convolution into the padding of the convolution.
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

/// If `input` is a border of 0: the window with larger padding, and the node inside the border.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::tests::{conv, ops, passed, push};

    #[test]
    fn borders_of_0_become_padding() {
        let mut graph = Graph::new(&[1, 3, 4]);
        let border = |sizes, value| Op::Pad(Pad { sizes, value });
        let other = push(&mut graph, border([1, 1, 1, 1], 0.5), &[0]);
        let first = push(&mut graph, border([1, 0, 2, 0], 0.0), &[other]);
        let second = push(&mut graph, border([0, 3, 0, 4], 0.0), &[first]);
        graph.output = conv(&mut graph, "a", second, [1, 1, 3, 3], &[1.0; 9], &[]);
        let passed = passed(fold_pads, &graph);
        assert_eq!(ops(&passed), ["pad", "convolution"]);
        let Op::Conv(conv) = &passed.nodes[2].op else { panic!("{passed:?}") };
        assert_eq!(conv.window.padding, [2, 4, 3, 5]);
    }

    #[test]
    fn a_border_with_another_reader_stays() {
        let mut graph = Graph::new(&[1, 3, 4]);
        let border = push(&mut graph, Op::Pad(Pad { sizes: [1; 4], value: 0.0 }), &[0]);
        let sum = conv(&mut graph, "a", border, [1, 1, 3, 3], &[1.0; 9], &[]);
        graph.output = push(&mut graph, Op::Add, &[border, sum]);
        assert_eq!(ops(&passed(fold_pads, &graph)), ["pad", "convolution", "add"]);
    }
}
