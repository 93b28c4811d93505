//! A convolution among those whose sums are added.

use crate::value::Value;
use std::borrow::Cow;
use taper_kernels::planes::{Depthwise, Layout, WindowKind};

/// The convolution of one value, the weights of which are those of the graph or its own.
#[derive(Debug)]
pub(crate) struct Term<'a> {
    /// The node that the value is of, for what is shared between its readers.
    pub(crate) node: usize,
    pub(crate) input: Value,
    pub(crate) weight: Cow<'a, [f32]>,
    /// `[out, in / groups, rows, columns]`.
    pub(crate) dims: [usize; 4],
    pub(crate) groups: usize,
    pub(crate) stride: [usize; 2],
    /// Pixels above and to the left.
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl<'a> Term<'a> {
    /// A convolution of single pixels.
    pub(crate) fn pointwise(
        node: usize,
        input: Value,
        weight: Cow<'a, [f32]>,
        n_out: usize,
        groups: usize,
    ) -> Self {
        let dims = [n_out, input.planes.len() / groups.max(1), 1, 1];
        let (stride, padding, dilation) = ([1; 2], [0; 2], [1; 2]);
        Self { node, input, weight, dims, groups, stride, padding, dilation }
    }

    /// What is known of the windows of a result.
    pub(super) fn windows(&self, to: &Layout) -> WindowKind {
        let from = self.input.layout;
        let is_centred = self.dims == [self.groups, 1, 3, 3]
            && self.groups == self.input.planes.len()
            && [self.padding, self.dilation] == [[1, 1], [1, 1]];
        // Of a single row or column, some weights see padding alone.
        let sees_all = [from.rows, from.columns, to.columns].iter().all(|&n| n > 1);
        let is_alone = from.rows == to.rows && to.vectors() == 1 && sees_all;
        match self.stride {
            [1, 1] if is_centred && is_alone => WindowKind::Alone,
            [2, 2] if is_centred && Depthwise::strides(&from, to) => WindowKind::Strided(from),
            _ => WindowKind::Any,
        }
    }

    /// Whether it multiplies single pixels, not padding.
    pub(super) fn is_of_pixels(&self) -> bool {
        self.dims[2..] == [1, 1] && self.padding == [0, 0]
    }
}
