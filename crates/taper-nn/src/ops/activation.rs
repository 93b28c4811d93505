//! Activations between layers, and the operations on them.

use super::{
    blocked::{KernelContext, MIN_BATCH, Node, Norm},
    conv, cpu,
    dual::Dual,
    norm as plain_norm, pool, relu as plain_relu, sums, types,
    weights::{Weights, tracked},
};
use crate::{ConvConfig, traced::Traced};
use candle_core::{DType, Result, Tensor};
use std::{ops::Add, sync::Arc};
use taper_graph::{Conv, Op, Window, op};
use taper_kernels::{
    conv::ConvShape,
    lanes::Plane,
    pool::{MaxWindows, Windows},
};

/// An activation between layers.
///
/// Layers accept tensors and activations, and return activations. [`tensor`](Self::tensor) converts an activation to a
/// tensor for candle's own operations. On the CPU in f32 an activation is stored in the layout of the kernels, in whole
/// vectors, and batch norm, addition and ReLU are fused into the operation that reads them. On other devices, for other
/// types, and for batches of less than eight images it is a tensor.
#[derive(Clone, Debug)]
pub struct Activation(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// A tensor, with the context of the kernels that will read it.
    Plain(Tensor, KernelContext),
    Blocked(Arc<Node>),
    /// With derivatives along a direction of the weights.
    Dual(Dual),
    /// Of a traced pass.
    Traced(Traced),
}

/// The parameters of a batch norm.
#[derive(Clone, Copy, Debug)]
pub struct NormParams<'a> {
    /// γ, a value for each channel.
    pub weight: &'a Tensor,
    /// β, a value for each channel.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
    /// Whether to track gradients.
    pub is_tracked: bool,
}

impl NormParams<'_> {
    /// The number of channels of `x`. Checks that weight and bias have a value for each channel.
    fn check(&self, x: &Activation) -> Result<usize> {
        let [weight, bias] = [self.weight, self.bias];
        types::shared(
            "batch-norm",
            &[("input", x.dtype()), ("weight", weight.dtype()), ("bias", bias.dtype())],
        )?;
        let channels = x.dims4()?[1];
        if weight.dims() != [channels] || bias.dims() != [channels] {
            candle_core::bail!(
                "batch-norm: an input of {channels} channels does not fit a weight of shape {:?} and a bias of shape {:?}",
                weight.dims(),
                bias.dims()
            )
        }
        Ok(channels)
    }

    fn tracked(&self) -> [Tensor; 2] {
        [self.weight, self.bias].map(|t| tracked(t, self.is_tracked))
    }
}

/// The result of a batch norm with the statistics of the batch.
#[derive(Clone, Debug)]
pub struct BatchNormed {
    /// The normalized activation, with a gradient.
    pub y: Activation,
    /// Mean of each channel, `[channels]`, without a gradient; in f32, or in f64 if `y` is.
    pub mean: Tensor,
    /// Unbiased variance of each channel, in the form of the mean.
    pub unbiased_var: Tensor,
}

impl From<&Tensor> for Activation {
    fn from(tensor: &Tensor) -> Self {
        Self::from(tensor.clone())
    }
}

impl From<Tensor> for Activation {
    fn from(tensor: Tensor) -> Self {
        Self(Repr::Plain(tensor, KernelContext::shared().clone()))
    }
}

impl From<Dual> for Activation {
    fn from(dual: Dual) -> Self {
        Self(Repr::Dual(dual))
    }
}

impl From<Traced> for Activation {
    fn from(traced: Traced) -> Self {
        Self(Repr::Traced(traced))
    }
}

impl From<&Activation> for Activation {
    fn from(activation: &Activation) -> Self {
        activation.clone()
    }
}

impl Activation {
    /// An input of a pass that computes derivatives along a direction of the weights. The derivative of the input is 0.
    pub(crate) fn dual(self) -> Result<Self> {
        match self.0 {
            Repr::Plain(tensor, _) => Ok(Self(Repr::Dual(Dual::constant(tensor)?))),
            _ => Ok(self),
        }
    }

    /// The activation with this kernel context, unless kernels have already processed it.
    pub(crate) fn within(self, kernels: &KernelContext) -> Self {
        match self.0 {
            Repr::Plain(tensor, _) => Self(Repr::Plain(tensor, kernels.clone())),
            _ => self,
        }
    }

    /// The kernel context.
    fn kernels(&self) -> &KernelContext {
        match &self.0 {
            Repr::Plain(_, kernels) => kernels,
            Repr::Blocked(node) => node.kernels(),
            Repr::Dual(_) | Repr::Traced(_) => KernelContext::shared(),
        }
    }

    /// The activation as a tensor, with its gradient. In a pass along a direction, the derivatives follow the values as
    /// further rows.
    ///
    /// # Errors
    /// If candle cannot create the tensor.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Repr::Plain(tensor, _) => Ok(tensor.clone()),
            Repr::Blocked(node) => node.tensor(),
            Repr::Dual(dual) => dual.tensor(),
            Repr::Traced(traced) => traced.tensor(),
        }
    }

    /// In the layout of the kernels for any batch size, for tests that compare with the kernels.
    #[cfg(test)]
    pub(super) fn in_blocks(tensor: &Tensor) -> Result<Self> {
        Ok(Self(Repr::Blocked(Node::input(tensor, true, KernelContext::shared())?)))
    }

    /// The tensor, if it is stored as one.
    pub(crate) fn as_tensor(&self) -> Option<&Tensor> {
        match &self.0 {
            Repr::Plain(tensor, _) => Some(tensor),
            _ => None,
        }
    }

    fn traced(&self) -> Option<&Traced> {
        match &self.0 {
            Repr::Traced(traced) => Some(traced),
            _ => None,
        }
    }

    fn as_dual(&self) -> Option<&Dual> {
        match &self.0 {
            Repr::Dual(dual) => Some(dual),
            _ => None,
        }
    }

    /// Its shape: `[batch, channels, height, width]`, `[batch, features]`, or the shape of its tensor.
    pub fn dims(&self) -> Vec<usize> {
        match &self.0 {
            Repr::Plain(tensor, _) => tensor.dims().to_vec(),
            Repr::Blocked(node) => node.dims(),
            Repr::Dual(dual) => dual.value.dims().to_vec(),
            Repr::Traced(traced) => traced.dims.clone(),
        }
    }

    /// Its type.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Repr::Plain(tensor, _) => tensor.dtype(),
            Repr::Blocked(_) => DType::F32,
            Repr::Dual(dual) => dual.value.dtype(),
            Repr::Traced(traced) => traced.dtype,
        }
    }

    fn dims4(&self) -> Result<[usize; 4]> {
        match self.dims()[..] {
            [batch, channels, height, width] => Ok([batch, channels, height, width]),
            ref dims => {
                candle_core::bail!("expected [batch, channels, height, width], got {dims:?}")
            }
        }
    }

    /// Its shape. Checks that it has a float type, four dimensions, and at least one pixel.
    fn planes(&self, op: &str) -> Result<[usize; 4]> {
        types::shared(op, &[("input", self.dtype())])?;
        let dims = self.dims4()?;
        if dims[2] == 0 || dims[3] == 0 {
            candle_core::bail!("{op}: an input of shape {dims:?} has no pixels")
        }
        Ok(dims)
    }

    /// The tensor that composed operations read.
    fn read(&self, is_tracked: bool) -> Result<Tensor> {
        Ok(tracked(&self.tensor()?, is_tracked))
    }

    /// The activation in the layout of the kernels, if there are kernels for it.
    fn blocked(&self, is_tracked: bool) -> Result<Option<Arc<Node>>> {
        match &self.0 {
            Repr::Blocked(node) => Ok(Some(node.clone())),
            Repr::Traced(_) | Repr::Dual(_) => Ok(None),
            Repr::Plain(tensor, kernels) => {
                let n_images = tensor.dim(0)?;
                let has_kernels = cpu::has_kernels(tensor);
                if let Some(share) = kernels.rank_share()
                    && !(has_kernels && n_images == share.images().len())
                {
                    candle_core::bail!(
                        "a rank has {} images of a batch, but a layer reads {:?} of {:?}; ranks train in f32 on the CPU, with \
                         layers on [batch, features] or [batch, channels, height, width]",
                        share.images().len(),
                        tensor.dims(),
                        tensor.dtype()
                    )
                }
                let fits = has_kernels && kernels.n_images(n_images) >= MIN_BATCH;
                fits.then(|| Node::input(tensor, is_tracked, kernels)).transpose()
            }
        }
    }
}

/// Convolves `[batch, in, height, width]` with a weight `[out, in / groups, kernel, kernel]`.
///
/// # Errors
/// If channels do not match, or the kernel is larger than the padded plane.
pub fn conv2d(x: &Activation, weights: &Weights, config: &ConvConfig) -> Result<Activation> {
    weights.shared_type("conv2d", x.dtype())?;
    let [batch, channels, height, width] = x.dims4()?;
    let shape = conv::shape((batch, channels, height, width), weights.weight, config)?;
    if let Some(traced) = x.traced() {
        let (weight, bias) = traced.names(weights)?;
        let ConvConfig { kernel, stride, padding, dilation, groups, .. } = *config;
        let window = Window { dilation: [dilation; 2], ..Window::square(kernel, stride, padding) };
        return Ok(traced.then(Op::Conv(Conv { weight, bias, window, groups }), &[])?.into());
    }
    if let Some(dual) = x.as_dual() {
        return Ok(dual.conv2d(&weights.dual("conv2d")?, config)?.into());
    }
    match x.blocked(weights.is_tracked)?.filter(|_| cpu::has_kernels(weights.weight)) {
        Some(node) => blocked_conv(&node, shape, weights),
        None => {
            let (x, weight) = (x.read(weights.is_tracked)?, weights.pruned()?);
            Ok(conv::conv2d(&x, &weight, weights.bias().as_ref(), config)?.into())
        }
    }
}

/// `x·weightᵀ + bias` for `x` `[batch, …, in]` and `weight` `[out, in]`.
///
/// # Errors
/// If the features do not match.
pub fn linear(x: &Activation, weights: &Weights) -> Result<Activation> {
    weights.shared_type("linear", x.dtype())?;
    let mut dims = x.dims();
    let (features_out, features_in) = weights.weight.dims2()?;
    if dims.last() != Some(&features_in) {
        candle_core::bail!(
            "linear: an input of shape {dims:?} does not fit a weight of shape {:?}; the last dimension must be {features_in}",
            weights.weight.dims()
        )
    }
    let [batch, _] = dims[..] else {
        if x.traced().is_some() {
            candle_core::bail!(
                "linear: a graph supports only inputs [batch, features], and this input is {dims:?}; \
                 use `global_average` before it, or do not export the network"
            )
        }
        let rows = (dims.iter().rev().skip(1).product::<usize>(), features_in);
        let features = dims.len() - 1;
        dims[features] = features_out;
        if let Some(dual) = x.as_dual() {
            let y = linear(&dual.each(|x| x.reshape(rows))?.into(), weights)?;
            let Some(y) = y.as_dual() else { return Ok(y) };
            return Ok(y.each(|y| y.reshape(&dims[..]))?.into());
        }
        let rows = x.tensor()?.reshape(rows)?;
        let rows = Activation::from(rows).within(x.kernels());
        return Ok(linear(&rows, weights)?.tensor()?.reshape(dims)?.into());
    };
    if let Some(traced) = x.traced() {
        let (weight, bias) = traced.names(weights)?;
        return Ok(traced.then(Op::Linear { weight, bias }, &[])?.into());
    }
    if let Some(dual) = x.as_dual() {
        return Ok(dual.linear(&weights.dual("linear")?)?.into());
    }
    match x.blocked(weights.is_tracked)?.filter(|_| cpu::has_kernels(weights.weight)) {
        Some(node) => {
            blocked_conv(&node, ConvShape::linear(batch, features_in, features_out), weights)
        }
        None => {
            let (x, weight) = (x.read(weights.is_tracked)?, weights.pruned()?);
            Ok(conv::linear(&x, &weight, weights.bias().as_ref())?.into())
        }
    }
}

fn blocked_conv(node: &Arc<Node>, shape: ConvShape, weights: &Weights) -> Result<Activation> {
    Ok(Activation(Repr::Blocked(Node::conv(node, shape, weights)?)))
}

/// Batch norm of `[batch, channels, height, width]` with its own mean and biased variance per channel.
///
/// # Errors
/// If weight or bias do not have a value for each channel, or there is no image or no pixel.
pub fn batch_norm_train(x: &Activation, params: &NormParams) -> Result<BatchNormed> {
    params.check(x)?;
    let dims = x.dims4()?;
    if dims.contains(&0) {
        candle_core::bail!("batch-norm: an input of shape {dims:?} has no statistics")
    }
    let NormParams { weight, bias, eps, is_tracked } = *params;
    if let Some(dual) = x.as_dual() {
        let [weight, bias] = params.tracked();
        let (y, mean, unbiased_var) = dual.batch_norm_train(&weight, &bias, eps)?;
        return Ok(BatchNormed { y: y.into(), mean, unbiased_var });
    }
    let Some(node) = x.blocked(is_tracked)?.filter(|_| cpu::has_kernels(weight)) else {
        let [weight, bias] = params.tracked();
        let normed = plain_norm::batch_norm_train(&x.read(is_tracked)?, &weight, &bias, eps)?;
        let (mean, unbiased_var) = (normed.mean, normed.unbiased_var);
        return Ok(BatchNormed { y: normed.y.into(), mean, unbiased_var });
    };
    let moments = node.moments()?;
    let mean: Vec<f32> = moments.iter().map(|m| m.mean as f32).collect();
    let unbiased = moments.iter().map(|m| (m.squares / (m.count - 1.0).max(1.0)) as f32).collect();
    let inverse_std = moments.iter().map(|m| 1.0 / (m.variance() + eps).sqrt()).collect();
    let device = weight.device();
    let (mean_tensor, unbiased_var) =
        (Tensor::new(&mean[..], device)?, Tensor::from_vec(unbiased, moments.len(), device)?);
    let norm = Norm::new(weight, bias, mean, inverse_std, true)?;
    let y = Activation(Repr::Blocked(Node::norm(&node, norm, is_tracked)));
    Ok(BatchNormed { y, mean: mean_tensor, unbiased_var })
}

/// Batch norm of `[batch, channels, height, width]` with a constant mean and variance per channel, of any float type.
///
/// # Errors
/// If a parameter does not have a value for each channel.
pub fn batch_norm_eval(
    x: &Activation,
    params: &NormParams,
    mean: &Tensor,
    var: &Tensor,
) -> Result<Activation> {
    let channels = params.check(x)?;
    for statistic in [mean, var] {
        types::shared("batch-norm", &[("statistic", statistic.dtype())])?;
        if statistic.dims() != [channels] {
            candle_core::bail!(
                "batch-norm: an input of {channels} channels does not fit a statistic of shape {:?}",
                statistic.dims()
            )
        }
    }
    let NormParams { weight, bias, eps, is_tracked } = *params;
    if let Some(traced) = x.traced() {
        let name = |tensor| traced.name(tensor);
        let (weight, bias) = (name(weight)?, name(bias)?);
        let (mean, var) = (name(mean)?, name(var)?);
        let norm = op::Norm { weight, bias, mean, var, eps };
        return Ok(traced.then(Op::Norm(norm), &[])?.into());
    }
    let has_kernels = cpu::has_kernels(weight);
    let of_blocks = |node: &Arc<Node>| -> Result<Arc<Node>> {
        let values = |t: &Tensor| t.to_dtype(DType::F32)?.to_vec1::<f32>();
        let inverse_std = values(var)?.iter().map(|&v| 1.0 / (f64::from(v) + eps).sqrt()).collect();
        let norm = Norm::new(weight, bias, values(mean)?, inverse_std, false)?;
        Ok(Node::norm(node, norm, is_tracked))
    };
    if let Some(node) = x.blocked(is_tracked)?.filter(|_| has_kernels) {
        return Ok(Activation(Repr::Blocked(of_blocks(&node)?)));
    }
    if let Some(dual) = x.as_dual() {
        let [weight, bias] = params.tracked();
        return Ok(dual.batch_norm_eval([&weight, &bias], [mean, var], eps)?.into());
    }
    let (kernels, x) = (x.kernels(), x.read(is_tracked)?);
    if is_tracked && has_kernels && cpu::has_kernels(&x) {
        // The gradients of weight and bias are sums. The order of candle's sums depends on the machine.
        return Ok(of_blocks(&Node::input(&x, true, kernels)?)?.tensor()?.into());
    }
    let [weight, bias] = params.tracked();
    Ok(plain_norm::batch_norm_eval(&x, [&weight, &bias], [mean, var], eps)?.into())
}

/// ReLU. The gradient at exactly 0 is 0, as in PyTorch. Candle's own ReLU passes the gradient at 0.
///
/// # Errors
/// If candle has no kernel for an operation on this device.
pub fn relu(x: impl Into<Activation>) -> Result<Activation> {
    let x = x.into();
    types::shared("relu", &[("input", x.dtype())])?;
    Ok(match x.0 {
        Repr::Plain(tensor, _) => plain_relu::relu(&tensor)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(node.relu())),
        Repr::Dual(dual) => dual.relu()?.into(),
        Repr::Traced(traced) => traced.then(Op::Activation(op::ActivationFn::Relu), &[])?.into(),
    })
}

/// Global average pooling: `[batch, channels, height, width]` to `[batch, channels]`.
///
/// # Errors
/// If `x` does not have four dimensions, or no pixels.
pub fn global_average(x: impl Into<Activation>) -> Result<Activation> {
    let x = x.into();
    let [_, channels, ..] = x.planes("global_average")?;
    Ok(match x.0 {
        Repr::Plain(tensor, _) => sums::plane_mean(&tensor)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(Node::global_average(&node))),
        Repr::Dual(dual) => dual.each(sums::plane_mean)?.into(),
        Repr::Traced(traced) => {
            traced.then(Op::GlobalAverage, &[])?.then(Op::Reshape(vec![channels]), &[])?.into()
        }
    })
}

/// Average pooling with windows of `size × size` pixels and stride `size`. Rows and columns that fill no window are
/// ignored.
///
/// # Errors
/// If `x` does not have four dimensions, or `size` is 0 or larger than the plane.
pub fn average(x: impl Into<Activation>, size: usize) -> Result<Activation> {
    let x = x.into();
    let [.., height, width] = x.planes("average")?;
    if size == 0 || size > height.min(width) {
        candle_core::bail!(
            "average: windows of {size}x{size} over a plane of {height}x{width}; choose a size from 1 to {}",
            height.min(width)
        )
    }
    let windows = Windows { size: (size, size) };
    Ok(match x.0 {
        Repr::Plain(tensor, _) => pool::average(&tensor, size)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(Node::average(&node, windows, false))),
        Repr::Dual(dual) => dual.each(|x| pool::average(x, size))?.into(),
        Repr::Traced(traced) => {
            let window = Window::square(size, size, 0);
            traced.then(Op::AveragePool { window, counts_padding: false }, &[])?.into()
        }
    })
}

/// Max pooling; see [`MaxWindows`].
///
/// # Errors
/// If `x` does not have four dimensions, or the windows do not fit it.
pub fn max_pool(x: impl Into<Activation>, windows: MaxWindows) -> Result<Activation> {
    let x = x.into();
    let [batch, channels, height, width] = x.planes("max_pool")?;
    let Some(output) = windows.output(&Plane { batch, channels, height, width }) else {
        let MaxWindows { size, stride, padding } = windows;
        candle_core::bail!(
            "max_pool: windows of {size}x{size} with stride {stride} and padding {padding} do not fit a plane of \
             {height}x{width}; the padding must be at most half of the window"
        )
    };
    let sizes = [output.height, output.width];
    Ok(match x.0 {
        Repr::Plain(tensor, _) => pool::maximum(&tensor, windows, sizes)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(Node::maximum(&node, windows)?)),
        Repr::Dual(dual) => dual.max_pool(windows, sizes)?.into(),
        Repr::Traced(traced) => {
            let MaxWindows { size, stride, padding } = windows;
            traced.then(Op::MaxPool(Window::square(size, stride, padding)), &[])?.into()
        }
    })
}

/// Concatenates the channels of all parts.
///
/// # Errors
/// If there are no parts, or they differ in more than their channels.
pub fn concat(parts: &[&Activation]) -> Result<Activation> {
    let names = std::iter::once("first part").chain(std::iter::repeat("later part"));
    let types: Vec<(&str, DType)> = names.zip(parts.iter().map(|part| part.dtype())).collect();
    types::shared("concat", &types)?;
    let all: Vec<Vec<usize>> = parts.iter().map(|part| part.dims()).collect();
    let mut dims = all[0].clone();
    for part in &all[1..] {
        let fits = part.len() == dims.len() && part.len() >= 2;
        if !fits || part[0] != dims[0] || part[2..] != dims[2..] {
            candle_core::bail!(
                "concat: parts of shapes {:?} and {part:?}; they must have at least two dimensions and may differ only in the \
                 second",
                all[0]
            )
        }
        dims[1] += part[1];
    }
    let blocked: Option<Vec<Arc<Node>>> = parts
        .iter()
        .map(|part| match &part.0 {
            Repr::Blocked(node) => Some(node.clone()),
            _ => None,
        })
        .collect();
    let traced: Option<Vec<&Traced>> = parts.iter().map(|part| part.traced()).collect();
    if let Some([first, others @ ..]) = traced.as_deref() {
        return Ok(first.then(Op::Concat, others)?.into());
    }
    let duals: Option<Vec<&Dual>> = parts.iter().map(|part| part.as_dual()).collect();
    if let Some(duals) = duals {
        return Ok(Dual::all(&duals, |parts| Tensor::cat(parts, 1))?.into());
    }
    Ok(match blocked {
        Some(nodes) => Activation(Repr::Blocked(Node::concat(&nodes)?)),
        None => {
            let tensors = parts.iter().map(|part| part.tensor()).collect::<Result<Vec<_>>>()?;
            Tensor::cat(&tensors, 1)?.into()
        }
    })
}

impl Add<&Activation> for &Activation {
    type Output = Result<Activation>;

    fn add(self, other: &Activation) -> Result<Activation> {
        types::shared("add", &[("left side", self.dtype()), ("right side", other.dtype())])?;
        if self.dims() != other.dims() {
            candle_core::bail!(
                "add: activations of shapes {:?} and {:?}; the shapes must be equal",
                self.dims(),
                other.dims()
            )
        }
        if let (Repr::Blocked(a), Repr::Blocked(b)) = (&self.0, &other.0) {
            return Ok(Activation(Repr::Blocked(Node::add(a, b)?)));
        }
        if let (Some(a), Some(b)) = (self.traced(), other.traced()) {
            return Ok(a.then(Op::Add, &[b])?.into());
        }
        if let (Some(a), Some(b)) = (self.as_dual(), other.as_dual()) {
            return Ok(Dual::all(&[a, b], |parts| parts[0] + parts[1])?.into());
        }
        Ok((self.tensor()? + other.tensor()?)?.into())
    }
}

impl Add<Activation> for Activation {
    type Output = Result<Activation>;

    fn add(self, other: Activation) -> Result<Activation> {
        &self + &other
    }
}

impl Add<&Activation> for Activation {
    type Output = Result<Activation>;

    fn add(self, other: &Activation) -> Result<Activation> {
        &self + other
    }
}
