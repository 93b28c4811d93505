//! Configuration of a convolution.

/// Configuration of a convolution, without its numbers of channels. The kernel is square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvConfig {
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Distance between windows, in input pixels.
    pub stride: usize,
    /// Zeros on each side of the input.
    pub padding: usize,
    /// Distance between kernel taps.
    pub dilation: usize,
    /// Number of groups of channels.
    pub groups: usize,
    /// Whether the layer has a bias.
    pub bias: bool,
}

impl ConvConfig {
    /// An odd kernel that keeps the size of the image; stride 1, no bias.
    pub const fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2, dilation: 1, groups: 1, bias: false }
    }

    /// The same with another stride.
    #[must_use]
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with channels in groups.
    #[must_use]
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with a bias.
    #[must_use]
    pub const fn biased(self) -> Self {
        Self { bias: true, ..self }
    }
}
