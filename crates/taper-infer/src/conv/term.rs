//! A term: one convolution of a sum of convolutions.

use crate::value::Value;
use std::borrow::Cow;
use taper_kernels::planes::{Depthwise, Layout, WindowKind};

/// The convolution of one value. Its weights are borrowed from the graph or owned.
#[derive(Debug)]
pub(crate) struct Term<'a> {
    /// The node of the value. Readers of the same node share copies.
    pub(crate) node: usize,
    pub(crate) input: Value,
    pub(crate) weight: Cow<'a, [f32]>,
    /// `[out, in / groups, rows, columns]`.
    pub(crate) dims: [usize; 4],
    pub(crate) groups: usize,
    pub(crate) stride: [usize; 2],
    /// Padding above and to the left, in pixels.
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl<'a> Term<'a> {
    /// A 1×1 convolution.
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

    /// The kind of windows, for depthwise kernels.
    pub(super) fn windows(&self, to: &Layout) -> WindowKind {
        let from = self.input.layout;
        let is_centred = self.dims == [self.groups, 1, 3, 3]
            && self.groups == self.input.planes.len()
            && [self.padding, self.dilation] == [[1, 1], [1, 1]];
        // With a single row or column, some weights only read padding.
        let sees_all = [from.rows, from.columns, to.columns].iter().all(|&n| n > 1);
        let is_alone = from.rows == to.rows && to.vectors() == 1 && sees_all;
        match self.stride {
            [1, 1] if is_centred && is_alone => WindowKind::Alone,
            [2, 2] if is_centred && Depthwise::strides(&from, to) => WindowKind::Strided(from),
            _ => WindowKind::Any,
        }
    }

    /// Whether it is a 1×1 convolution without padding.
    pub(super) fn is_of_pixels(&self) -> bool {
        self.dims[2..] == [1, 1] && self.padding == [0, 0]
    }
}
