//! Operations and their parameters.

/// The operation of a node. [`interpret`](crate::interpret()) is the specification.
///
/// Shapes are for one image: `[channels, rows, columns]` for planes, `[features]` for vectors. Operations refer to
/// [`Tensor`](crate::Tensor)s by name.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image. It is the first node, and no other node.
    Input,
    /// A constant of any shape, without inputs.
    Constant(String),
    /// Convolution of planes.
    Conv(Conv),
    /// `weight·x + bias` of a vector, with a weight `[out, in]`. Weights of 0 are skipped.
    Linear {
        /// Name of the weight.
        weight: String,
        /// Name of the bias `[out]`.
        bias: Option<String>,
    },
    /// Batch norm with constants for each channel.
    Norm(Norm),
    /// A function of each element.
    Activation(ActivationFn),
    /// Sum of two inputs of equal rank; a size of 1 is broadcast.
    Add,
    /// Product of two inputs of equal rank; a size of 1 is broadcast.
    Multiply,
    /// The inputs concatenated along the channels (dimension 0).
    Concat,
    /// A constant border around each plane.
    Pad(Pad),
    /// Largest pixel of each window; padding is ignored. NaN if a pixel is NaN; −∞ if the window covers padding only.
    MaxPool(Window),
    /// Mean of the pixels of each window; NaN if one of them is NaN. For a window that covers padding only it is NaN,
    /// or 0 if padding counts.
    AveragePool {
        /// The windows.
        window: Window,
        /// Whether padding counts as pixels of value 0.
        counts_padding: bool,
    },
    /// Mean of each plane, as `[channels, 1, 1]`. Planes must not be empty. NaN if a pixel is NaN.
    GlobalAverage,
    /// Largest pixel of each plane, as `[channels, 1, 1]`. Planes must not be empty. NaN if a pixel is NaN.
    GlobalMax,
    /// The same elements in this shape, for example planes as a vector.
    Reshape(Vec<usize>),
    /// Softmax over one dimension.
    Softmax {
        /// The dimension; the batch is not counted.
        axis: usize,
    },
    /// Each pixel repeated in rows and columns.
    Upsample {
        /// Copies of each row and of each column, at least 1.
        factors: [usize; 2],
    },
    /// Convolutions with their bias, residual input and activation, in one operation. Passes create it.
    Fused(Fused),
}

impl Op {
    /// Name in messages and plans.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Constant(_) => "constant",
            Self::Conv(_) => "convolution",
            Self::Linear { .. } => "linear",
            Self::Norm(_) => "batch norm",
            Self::Activation(_) => "activation",
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Concat => "concat",
            Self::Pad(_) => "pad",
            Self::MaxPool(_) => "max pool",
            Self::AveragePool { .. } => "average pool",
            Self::GlobalAverage => "global average pool",
            Self::GlobalMax => "global max pool",
            Self::Reshape(_) => "reshape",
            Self::Softmax { .. } => "softmax",
            Self::Upsample { .. } => "upsample",
            Self::Fused(_) => "fused convolution",
        }
    }

    /// Names of its tensors.
    pub fn tensors(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        match self {
            Self::Constant(name) => names.push(name),
            Self::Conv(conv) => conv.names(&mut names),
            Self::Linear { weight, bias } => {
                names.push(weight);
                names.extend(bias.as_deref());
            }
            Self::Norm(norm) => {
                names.extend([&*norm.weight, &*norm.bias, &*norm.mean, &*norm.var]);
            }
            Self::Fused(fused) => {
                fused.convs.iter().for_each(|conv| conv.names(&mut names));
                names.extend(fused.bias.as_deref());
            }
            _ => {}
        }
        names
    }

    /// The names of [`tensors`](Self::tensors), to change them.
    pub fn tensors_mut(&mut self) -> Vec<&mut String> {
        let mut names: Vec<&mut String> = Vec::new();
        match self {
            Self::Constant(name) => names.push(name),
            Self::Conv(conv) => conv.names_mut(&mut names),
            Self::Linear { weight, bias } => {
                names.push(weight);
                names.extend(bias);
            }
            Self::Norm(norm) => {
                names.extend([&mut norm.weight, &mut norm.bias, &mut norm.mean, &mut norm.var]);
            }
            Self::Fused(fused) => {
                fused.convs.iter_mut().for_each(|conv| conv.names_mut(&mut names));
                names.extend(&mut fused.bias);
            }
            _ => {}
        }
        names
    }
}

/// A convolution with a weight `[out, in / groups, kernel rows, kernel columns]`. Weights of 0 are skipped.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Name of the weight.
    pub weight: String,
    /// Name of the bias `[out]`.
    pub bias: Option<String>,
    /// Kernel size, stride, padding and dilation. The kernel size must match the weight.
    pub window: Window,
    /// Groups, at least 1; a divisor of the numbers of input and output channels.
    pub groups: usize,
}

impl Conv {
    /// A convolution without bias or groups.
    pub fn new(weight: impl Into<String>, window: Window) -> Self {
        Self { weight: weight.into(), bias: None, window, groups: 1 }
    }

    fn names<'a>(&'a self, names: &mut Vec<&'a str>) {
        names.push(&self.weight);
        names.extend(self.bias.as_deref());
    }

    fn names_mut<'a>(&'a mut self, names: &mut Vec<&'a mut String>) {
        names.push(&mut self.weight);
        names.extend(&mut self.bias);
    }
}

/// `(x − mean) · weight / √(var + eps) + bias`, with constants `[channels]`. Where the factor of `x` is 0, it is the
/// bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Name of γ.
    pub weight: String,
    /// Name of β.
    pub bias: String,
    /// Name of the running mean.
    pub mean: String,
    /// Name of the running variance.
    pub var: String,
    /// Added to the variance.
    pub eps: f64,
}

/// Sizes and positions of the windows on a plane. Pairs are rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Taps, at least 1.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next, at least 1.
    pub stride: [usize; 2],
    /// Pixels around the plane: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Pixels from one tap to the next, at least 1.
    pub dilation: [usize; 2],
}

impl Window {
    /// Square windows: kernel, stride, padding on each side.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 4], dilation: [1; 2] }
    }

    /// The row (axis 0) or column (axis 1) of a plane of `size` pixels at tap `tap` of window `at`; `None` if it is
    /// padding.
    pub fn pixel(&self, axis: usize, at: usize, tap: usize, size: usize) -> Option<usize> {
        let padded = at * self.stride[axis] + tap * self.dilation[axis];
        padded.checked_sub(self.padding[axis]).filter(|&pixel| pixel < size)
    }

    /// The rows (axis 0) or columns (axis 1) of a plane of `size` pixels that window `at` covers, in order.
    pub fn pixels(
        &self,
        axis: usize,
        at: usize,
        size: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let (padding, dilation) = (self.padding[axis], self.dilation[axis].max(1));
        // Both in pixels from the start of the padding. Kernels can be much larger than the plane.
        let first = at * self.stride[axis];
        let last = first + self.kernel[axis].saturating_sub(1) * dilation;
        let taps_outside = padding.saturating_sub(first).div_ceil(dilation);
        let first = first.saturating_add(taps_outside.saturating_mul(dilation)) - padding;
        (first..size.min((last + 1).saturating_sub(padding))).step_by(dilation)
    }

    /// Windows of an odd kernel that keep the size of the plane.
    pub const fn same(kernel: usize) -> Self {
        Self::square(kernel, 1, kernel / 2)
    }
}

/// A border around each plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad {
    /// Pixels at the top, left, bottom and right.
    pub sizes: [usize; 4],
    /// Their value.
    pub value: f32,
}

/// A function of each element. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActivationFn {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`. ReLU6 has min 0 and max 6.
    Clip {
        /// The smallest value.
        min: f32,
        /// The largest value.
        max: f32,
    },
    /// `x` if it is at least 0, else `slope·x`.
    LeakyRelu {
        /// Factor of negative values.
        slope: f32,
    },
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `min(max(alpha·x + beta, 0), 1)`.
    HardSigmoid {
        /// Factor.
        alpha: f32,
        /// Summand.
        beta: f32,
    },
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · min(max(x + 3, 0), 6) / 6`.
    HardSwish,
}

impl ActivationFn {
    /// ReLU6.
    pub const RELU6: Self = Self::Clip { min: 0.0, max: 6.0 };
}

/// A sum of convolutions, with a bias, a residual input and an activation.
///
/// Inputs: one for each convolution, then the residual input, if any. All convolutions have the same output shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The convolutions, at least one. Their own bias is `None`.
    pub convs: Vec<Conv>,
    /// Name of the bias, `[channels]` or, for each pixel, `[channels, rows, columns]`.
    pub bias: Option<String>,
    /// Whether the last input is added before the activation.
    pub residual: bool,
    /// Applied at the end.
    pub activation: Option<ActivationFn>,
}

impl From<Conv> for Fused {
    /// The convolution without residual input and activation.
    fn from(mut conv: Conv) -> Self {
        let bias = conv.bias.take();
        Self { convs: vec![conv], bias, residual: false, activation: None }
    }
}
