//! What layers hand to each other.

use super::{
    blocked::{Node, Norm},
    conv, cpu, norm as plain_norm, relu as plain_relu,
    threshold::threshold_ste,
};
use crate::{
    ConvConfig, Gate,
    graph::{GraphOp, Traced},
};
use candle_core::{D, DType, Result, Tensor};
use std::{ops::Add, sync::Arc};
use taper_kernels::{
    conv::ConvShape,
    lanes::Plane,
    pool::{MaxWindows, Windows},
};

/// Batches below this are computed image by image: a block of sixteen would be mostly empty.
const MIN_BATCH: usize = 8;

/// An activation between layers.
///
/// Layers take tensors and activations alike, and give activations; [`tensor`](Self::tensor) makes a tensor of one, for
/// the operations of candle. On the CPU in f32 an activation is kept in the layout of the kernels, with sixteen images
/// in the lanes of a vector, and normalisation, addition and rectifier are joined to what reads them; elsewhere, and
/// for batches of less than eight, it is a tensor.
#[derive(Clone, Debug)]
pub struct Activation(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Plain(Tensor),
    Blocked(Arc<Node>),
    /// Of a pass that is noted, not computed.
    Traced(Traced),
}

/// What a convolution or linear layer computes with.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// All weights; the gate prunes them.
    pub weight: &'a Tensor,
    /// A value for each output channel.
    pub bias: Option<&'a Tensor>,
    /// Which weights are kept, if not all.
    pub gate: Option<&'a Gate>,
    /// Whether gradients are wanted.
    pub is_tracked: bool,
}

impl Weights<'_> {
    /// The pruned weight, with its straight-through gradient.
    fn pruned(&self) -> Result<Tensor> {
        match self.gate {
            Some(gate) => threshold_ste(self.weight, gate),
            None => Ok(self.weight.clone()),
        }
    }
}

/// What a normalisation computes with.
#[derive(Clone, Copy, Debug)]
pub struct NormParams<'a> {
    /// γ, a value for each channel.
    pub weight: &'a Tensor,
    /// β, a value for each channel.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
    /// Whether gradients are wanted.
    pub is_tracked: bool,
}

/// What a normalisation by the batch's own statistics gives.
#[derive(Clone, Debug)]
pub struct BatchNormed {
    /// The normalised activation, with a gradient.
    pub y: Activation,
    /// Mean of each channel, `[channels]`, without a gradient.
    pub mean: Tensor,
    /// Unbiased variance of each channel, `[channels]`, without a gradient.
    pub unbiased_var: Tensor,
}

impl From<&Tensor> for Activation {
    fn from(tensor: &Tensor) -> Self {
        Self(Repr::Plain(tensor.clone()))
    }
}

impl From<Tensor> for Activation {
    fn from(tensor: Tensor) -> Self {
        Self(Repr::Plain(tensor))
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
    /// The activation as a tensor, `[batch, channels, height, width]` or `[batch, features]`, with its gradient.
    ///
    /// # Errors
    /// If candle cannot make the tensor.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Repr::Plain(tensor) => Ok(tensor.clone()),
            Repr::Blocked(node) => node.tensor(),
            Repr::Traced(traced) => traced.tensor(),
        }
    }

    /// The tensor, if it is kept as one.
    pub(crate) fn as_tensor(&self) -> Option<&Tensor> {
        match &self.0 {
            Repr::Plain(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn traced(&self) -> Option<&Traced> {
        match &self.0 {
            Repr::Traced(traced) => Some(traced),
            _ => None,
        }
    }

    /// Its shape: `[batch, channels, height, width]` or `[batch, features]`.
    pub fn dims(&self) -> Vec<usize> {
        match &self.0 {
            Repr::Plain(tensor) => tensor.dims().to_vec(),
            Repr::Blocked(node) => node.dims(),
            Repr::Traced(traced) => traced.dims.clone(),
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

    /// The activation in the blocked layout, if there are kernels for it.
    fn blocked(&self, is_tracked: bool) -> Result<Option<Arc<Node>>> {
        match &self.0 {
            Repr::Blocked(node) => Ok(Some(node.clone())),
            Repr::Traced(_) => Ok(None),
            Repr::Plain(tensor) => {
                let fits = cpu::has_kernels(tensor) && tensor.dim(0)? >= MIN_BATCH;
                fits.then(|| Node::input(tensor, is_tracked)).transpose()
            }
        }
    }
}

/// Convolves `[batch, in, height, width]` with a weight `[out, in / groups, kernel, kernel]`.
///
/// # Errors
/// If channels do not match, or the kernel is larger than the padded plane.
pub fn conv2d(x: &Activation, weights: &Weights, config: &ConvConfig) -> Result<Activation> {
    let [batch, channels, height, width] = x.dims4()?;
    let shape = conv::shape((batch, channels, height, width), weights.weight, config)?;
    if let Some(traced) = x.traced() {
        let (weight, bias) = (weights.weight.clone(), weights.bias.cloned());
        let (rows, columns) = shape.out_size().unwrap_or_default();
        let dims = vec![batch, shape.channels_out, rows, columns];
        return Ok(traced.then(GraphOp::Conv { weight, bias, config: *config }, &[], dims));
    }
    match x.blocked(weights.is_tracked)?.filter(|_| cpu::has_kernels(weights.weight)) {
        Some(node) => blocked_conv(&node, shape, weights),
        None => {
            let y = conv::conv2d(&x.tensor()?, &weights.pruned()?, config)?;
            plain_bias(y, weights.bias, (1, (), 1, 1))
        }
    }
}

/// `x·weightᵀ + bias` for `x` `[batch, in]` and `weight` `[out, in]`.
///
/// # Errors
/// If the features do not match.
pub fn linear(x: &Activation, weights: &Weights) -> Result<Activation> {
    let [batch, features] = x.dims()[..] else {
        candle_core::bail!("linear: expected [batch, features], got {:?}", x.dims())
    };
    let (features_out, features_in) = weights.weight.dims2()?;
    if features != features_in {
        candle_core::bail!(
            "linear: input of {features} features for a weight of {:?}",
            weights.weight.dims()
        )
    }
    if let Some(traced) = x.traced() {
        let (weight, bias) = (weights.weight.clone(), weights.bias.cloned());
        let dims = vec![batch, features_out];
        return Ok(traced.then(GraphOp::Linear { weight, bias }, &[], dims));
    }
    match x.blocked(weights.is_tracked)?.filter(|_| cpu::has_kernels(weights.weight)) {
        Some(node) => {
            blocked_conv(&node, ConvShape::linear(batch, features_in, features_out), weights)
        }
        None => plain_bias(conv::linear(&x.tensor()?, &weights.pruned()?)?, weights.bias, (1, ())),
    }
}

fn blocked_conv(node: &Arc<Node>, shape: ConvShape, weights: &Weights) -> Result<Activation> {
    Ok(Activation(Repr::Blocked(Node::conv(node, shape, weights)?)))
}

fn plain_bias(
    y: Tensor,
    bias: Option<&Tensor>,
    shape: impl candle_core::shape::ShapeWithOneHole,
) -> Result<Activation> {
    Ok(match bias {
        Some(bias) => y.broadcast_add(&bias.reshape(shape)?)?.into(),
        None => y.into(),
    })
}

fn check_norm(x: &Activation, params: &NormParams) -> Result<usize> {
    let channels = x.dims4()?[1];
    if params.weight.dims() != [channels] || params.bias.dims() != [channels] {
        candle_core::bail!(
            "batch-norm: {channels} channels for a weight of {:?}",
            params.weight.dims()
        )
    }
    Ok(channels)
}

/// Normalises `[batch, channels, height, width]` by its own mean and biased variance per channel.
///
/// # Errors
/// If weight or bias do not have a value for each channel.
pub fn batch_norm_train(x: &Activation, params: &NormParams) -> Result<BatchNormed> {
    check_norm(x, params)?;
    let NormParams { weight, bias, eps, is_tracked } = *params;
    let Some(node) = x.blocked(is_tracked)?.filter(|_| cpu::has_kernels(weight)) else {
        let normed = plain_norm::batch_norm_train(&x.tensor()?, weight, bias, eps)?;
        let (mean, unbiased_var) = (normed.mean, normed.unbiased_var);
        return Ok(BatchNormed { y: normed.y.into(), mean, unbiased_var });
    };
    let moments = node.moments();
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

/// Normalises `[batch, channels, height, width]` by constants, a mean and a variance for each channel.
///
/// # Errors
/// If a parameter does not have a value for each channel.
pub fn batch_norm_eval(
    x: &Activation,
    params: &NormParams,
    mean: &Tensor,
    var: &Tensor,
) -> Result<Activation> {
    check_norm(x, params)?;
    let NormParams { weight, bias, eps, is_tracked } = *params;
    if let Some(traced) = x.traced() {
        let [weight, bias, mean, var] = [weight, bias, mean, var].map(Tensor::clone);
        let op = GraphOp::Norm { weight, bias, mean, var, eps };
        return Ok(traced.then(op, &[], traced.dims.clone()));
    }
    let Some(node) = x.blocked(is_tracked)?.filter(|_| cpu::has_kernels(weight)) else {
        let scale = (weight / (var + eps)?.sqrt()?)?;
        let shift = (bias - (mean * &scale)?)?;
        let per_channel = |t: &Tensor| t.reshape((1, (), 1, 1));
        let y = x.tensor()?.broadcast_mul(&per_channel(&scale)?)?;
        return Ok(y.broadcast_add(&per_channel(&shift)?)?.into());
    };
    let values = |t: &Tensor| t.to_dtype(DType::F32)?.to_vec1::<f32>();
    let inverse_std = values(var)?.iter().map(|&v| 1.0 / (f64::from(v) + eps).sqrt()).collect();
    let norm = Norm::new(weight, bias, values(mean)?, inverse_std, false)?;
    Ok(Activation(Repr::Blocked(Node::norm(&node, norm, is_tracked))))
}

/// `x` where it is positive, else 0; the gradient at exactly 0 is 0, as in PyTorch (candle's own passes it there).
///
/// # Errors
/// If candle has no kernel for an operation on this device.
pub fn relu(x: impl Into<Activation>) -> Result<Activation> {
    Ok(match x.into().0 {
        Repr::Plain(tensor) => plain_relu::relu(&tensor)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(node.relu())),
        Repr::Traced(traced) => traced.then(GraphOp::Relu, &[], traced.dims.clone()),
    })
}

/// Mean over the plane: `[batch, channels, height, width]` to `[batch, channels]`.
///
/// # Errors
/// If `x` does not have four dimensions.
pub fn global_average(x: impl Into<Activation>) -> Result<Activation> {
    let x = x.into();
    let [batch, channels, ..] = x.dims4()?;
    Ok(match x.0 {
        Repr::Plain(tensor) => tensor.mean((D::Minus2, D::Minus1))?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(Node::global_average(&node))),
        Repr::Traced(traced) => traced.then(GraphOp::GlobalAverage, &[], vec![batch, channels]),
    })
}

/// Means of windows of `size × size` pixels, `size` apart; rows and columns that fill no window are left out.
///
/// # Errors
/// If `x` does not have four dimensions, or `size` is 0.
pub fn average(x: impl Into<Activation>, size: usize) -> Result<Activation> {
    let x = x.into();
    let [batch, channels, height, width] = x.dims4()?;
    if size == 0 {
        candle_core::bail!("average: windows of no pixels")
    }
    let windows = Windows { size: (size, size) };
    Ok(match x.0 {
        Repr::Plain(tensor) => tensor.avg_pool2d(size)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(Node::average(&node, windows, false))),
        Repr::Traced(traced) => {
            let dims = vec![batch, channels, height / size, width / size];
            traced.then(GraphOp::Average { size }, &[], dims)
        }
    })
}

/// Largest pixels of windows; see [`MaxWindows`].
///
/// # Errors
/// If `x` does not have four dimensions, or the windows do not fit it.
pub fn max_pool(x: impl Into<Activation>, windows: MaxWindows) -> Result<Activation> {
    let x = x.into();
    let [batch, channels, height, width] = x.dims4()?;
    let Some(output) = windows.output(&Plane { batch, channels, height, width }) else {
        candle_core::bail!("max_pool: {windows:?} over {:?}", x.dims())
    };
    let sizes = [output.height, output.width];
    Ok(match x.0 {
        Repr::Plain(tensor) => max_pool_composed(&tensor, windows, sizes)?.into(),
        Repr::Blocked(node) => Activation(Repr::Blocked(Node::maximum(&node, windows)?)),
        Repr::Traced(traced) => {
            let dims = vec![batch, channels, output.height, output.width];
            traced.then(GraphOp::Maximum(windows), &[], dims)
        }
    })
}

/// The largest of as many shifted tensors as a window has pixels.
fn max_pool_composed(x: &Tensor, windows: MaxWindows, sizes: [usize; 2]) -> Result<Tensor> {
    let MaxWindows { size, stride, padding } = windows;
    let lowest = |dim: usize, x: &Tensor| -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        dims[dim] = padding;
        Tensor::full(f32::NEG_INFINITY, dims, x.device())?.to_dtype(x.dtype())
    };
    let mut padded = x.clone();
    for dim in [2, 3] {
        if padding > 0 {
            let edge = lowest(dim, &padded)?;
            padded = Tensor::cat(&[&edge, &padded, &edge], dim)?;
        }
    }
    let shifted = |x: &Tensor, dim: usize, by: usize| {
        let picked: Vec<u32> = (0..sizes[dim - 2]).map(|i| (by + i * stride) as u32).collect();
        x.index_select(&Tensor::new(picked, x.device())?, dim)
    };
    let mut largest: Option<Tensor> = None;
    for dy in 0..size {
        let rows = shifted(&padded, 2, dy)?;
        for dx in 0..size {
            let pixels = shifted(&rows, 3, dx)?;
            largest = Some(match largest {
                Some(largest) => largest.maximum(&pixels)?,
                None => pixels,
            });
        }
    }
    largest.ok_or_else(|| candle_core::Error::Msg("max_pool: windows of no pixels".into()))
}

/// The channels of all parts, one after the other.
///
/// # Errors
/// If there are no parts, or they differ in anything but their channels.
pub fn concat(parts: &[&Activation]) -> Result<Activation> {
    let blocked: Option<Vec<Arc<Node>>> = parts
        .iter()
        .map(|part| match &part.0 {
            Repr::Blocked(node) => Some(node.clone()),
            _ => None,
        })
        .collect();
    let traced: Option<Vec<&Traced>> = parts.iter().map(|part| part.traced()).collect();
    if let Some([first, others @ ..]) = traced.as_deref() {
        let mut dims = first.dims.clone();
        for part in others {
            if part.dims.len() != dims.len() || part.dims[2..] != dims[2..] {
                candle_core::bail!("concat: parts of {:?} and {:?}", first.dims, part.dims)
            }
            dims[1] += part.dims[1];
        }
        return Ok(first.then(GraphOp::Concat, others, dims));
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
        if let (Repr::Blocked(a), Repr::Blocked(b)) = (&self.0, &other.0) {
            return Ok(Activation(Repr::Blocked(Node::add(a, b)?)));
        }
        if let (Some(a), Some(b)) = (self.traced(), other.traced()) {
            if a.dims != b.dims {
                candle_core::bail!("add: activations of {:?} and {:?}", a.dims, b.dims)
            }
            return Ok(a.then(GraphOp::Add, &[b], a.dims.clone()));
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
