//! Sizes of a convolution.

/// Sizes of a convolution besides its channels; the kernel is square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvConfig {
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step between output pixels.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Distance between kernel taps.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvConfig {
    /// An odd kernel that keeps the size of the plane; stride 1, no bias.
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
