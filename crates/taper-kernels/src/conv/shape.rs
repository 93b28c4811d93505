//! Sizes of a convolution.

use crate::sizes::{checked_product, product};
use std::ops::Range;

/// Sizes of a convolution in NCHW. The weight is `[channels_out, channels_in / groups, kernel.0, kernel.1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input channels, a multiple of `groups`.
    pub channels_in: usize,
    /// Output channels, a multiple of `groups`.
    pub channels_out: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Kernel rows and columns.
    pub kernel: (usize, usize),
    /// Step between output pixels, in input pixels; at least 1.
    pub stride: usize,
    /// Zeros around the input, on each side.
    pub padding: usize,
    /// Distance between kernel taps, in input pixels; at least 1.
    pub dilation: usize,
    /// Groups of channels that are convolved separately.
    pub groups: usize,
}

impl ConvShape {
    /// A linear layer as a 1×1 convolution.
    pub fn linear(batch: usize, features_in: usize, features_out: usize) -> Self {
        Self {
            batch,
            channels_in: features_in,
            channels_out: features_out,
            height: 1,
            width: 1,
            kernel: (1, 1),
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }
    }

    /// Rows and columns of the output. `None` if the kernel is larger than the padded input, if a stride, dilation or
    /// group count is invalid, or if sizes are more than memory holds.
    pub fn out_size(&self) -> Option<(usize, usize)> {
        let size = |input: usize, kernel: usize| {
            let reach = self.dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
            let padded = self.padding.checked_mul(2)?.checked_add(input)?;
            Some(padded.checked_sub(reach)? / self.stride + 1)
        };
        let possible = self.stride > 0
            && self.dilation > 0
            && self.groups > 0
            && self.channels_in.is_multiple_of(self.groups)
            && self.channels_out.is_multiple_of(self.groups);
        possible.then_some(())?;
        let (height, width) = (size(self.height, self.kernel.0)?, size(self.width, self.kernel.1)?);
        let group_in = self.channels_in / self.groups;
        checked_product([self.batch, self.channels_in, self.height, self.width])?;
        checked_product([self.batch, self.channels_out, height, width])?;
        checked_product([self.channels_out, group_in, self.kernel.0, self.kernel.1])?;
        checked_product([group_in, self.kernel.0, self.kernel.1, height, width])?;
        Some((height, width))
    }

    /// Multiply-accumulates of one image with dense weights.
    pub fn macs_per_image(&self) -> u64 {
        self.n_weights() as u64 * self.out_pixels() as u64
    }

    pub(super) fn out_hw(&self) -> (usize, usize) {
        self.out_size().unwrap_or_else(|| {
            panic!("the kernel is larger than the padded input, a stride, dilation or group count is invalid, or sizes are too large: {self:?}")
        })
    }

    pub(super) fn out_pixels(&self) -> usize {
        let (height, width) = self.out_hw();
        product([height, width])
    }

    pub(super) fn in_pixels(&self) -> usize {
        product([self.height, self.width])
    }

    /// Floats of one input image.
    pub fn in_image(&self) -> usize {
        product([self.channels_in, self.in_pixels()])
    }

    /// Floats of one output image.
    pub fn out_image(&self) -> usize {
        product([self.channels_out, self.out_pixels()])
    }

    pub(super) fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    pub(super) fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Weights per output channel.
    pub(super) fn taps(&self) -> usize {
        product([self.group_in(), self.kernel.0, self.kernel.1])
    }

    /// Number of weights.
    pub fn n_weights(&self) -> usize {
        product([self.channels_out, self.taps()])
    }

    pub(super) fn in_range(&self, g: usize) -> Range<usize> {
        let len = self.in_image() / self.groups;
        g * len..(g + 1) * len
    }

    pub(super) fn out_range(&self, g: usize) -> Range<usize> {
        let len = self.out_image() / self.groups;
        g * len..(g + 1) * len
    }

    pub(super) fn weight_range(&self, g: usize) -> Range<usize> {
        let len = self.n_weights() / self.groups;
        g * len..(g + 1) * len
    }

    /// Whether the input itself is the im2col matrix.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.padding == 0
    }

    /// Whether it is a linear layer: one product for the whole batch.
    pub(super) fn is_linear(&self) -> bool {
        self.is_pointwise() && self.groups == 1 && (self.height, self.width) == (1, 1)
    }

    pub(super) fn check(&self, input: &[f32], weight: &[f32], out: &[f32]) {
        assert_eq!(input.len(), product([self.batch, self.in_image()]), "input of {self:?}");
        assert_eq!(weight.len(), self.n_weights(), "weight of {self:?}");
        assert_eq!(out.len(), product([self.batch, self.out_image()]), "output of {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_and_the_impossible() {
        let conv = ConvShape {
            height: 32,
            width: 32,
            kernel: (3, 3),
            padding: 1,
            ..ConvShape::linear(1, 3, 8)
        };
        assert_eq!(conv.out_size(), Some((32, 32)));
        assert_eq!(ConvShape { stride: 2, ..conv }.out_size(), Some((16, 16)));
        assert_eq!(ConvShape { dilation: 2, ..conv }.out_size(), Some((30, 30)));
        assert_eq!(ConvShape { height: 1, padding: 0, ..conv }.out_size(), None);
        assert_eq!(ConvShape { stride: 0, ..conv }.out_size(), None);
        assert_eq!(ConvShape { groups: 2, ..conv }.out_size(), None);
        assert_eq!(conv.macs_per_image(), 8 * 27 * 1024);
    }

    #[test]
    fn sizes_that_wrap_around_are_impossible() {
        // Twice this is 2 modulo 2⁶⁴.
        let wraps = (1usize << (usize::BITS - 1)) + 1;
        let conv = ConvShape { width: 2, ..ConvShape::linear(1, 1, 1) };
        assert_eq!(conv.out_size(), Some((1, 2)));
        for conv in [
            ConvShape { channels_in: wraps, ..conv },
            ConvShape { channels_out: wraps, ..conv },
            ConvShape { channels_in: wraps, channels_out: wraps, ..conv },
            ConvShape { channels_in: wraps, channels_out: wraps, groups: wraps, ..conv },
            ConvShape { batch: wraps, ..conv },
            ConvShape { height: wraps, ..conv },
            ConvShape { padding: wraps, ..conv },
            ConvShape { kernel: (1, wraps), padding: wraps / 2, ..conv },
        ] {
            assert_eq!(conv.out_size(), None, "{conv:?}");
        }
    }
}
