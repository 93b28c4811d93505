//! Activations in the layout of the kernels, with the operations that computed them.

use super::{
    KernelContext,
    choice::{self, Direction},
    profile::Work,
};
use crate::{
    Gate,
    ops::{Weights, threshold::threshold, with_values},
};
use candle_core::{Device, Result, Tensor};
use std::sync::{Arc, OnceLock};
use taper_kernels::{
    buffer::Buffer,
    concat::concat,
    conv::{ConvShape, blocked::BlockedConv},
    fused::{ActivationView, JoinedParts, Moments, PassWhere, Source},
    lanes::{self, Lanes, Plane},
    norm::blocked as norm,
    pool::{self, MaxWindows, Windows},
    tree::Roots,
};

/// An activation in the layout of the kernels.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) plane: Plane,
    /// Whether its public shape is `[batch, features]`.
    is_flat: bool,
    pub(super) op: Op,
    /// Whether it, or a tensor that it was computed from, needs a gradient.
    pub(super) is_tracked: bool,
    kernels: KernelContext,
    value: OnceLock<Buffer>,
    /// Moments of this rank's images, if computed together with the value.
    own_moments: OnceLock<Roots<Vec<Moments>>>,
    /// Moments of the whole batch.
    moments: OnceLock<Vec<Moments>>,
}

/// The operation that computed an activation, with everything that its gradient needs.
#[derive(Debug)]
pub(super) enum Op {
    /// Nothing that it was computed from needs a gradient.
    Constant,
    /// A candle tensor.
    Input(Tensor),
    /// A convolution or a linear layer.
    Conv {
        x: Arc<Node>,
        conv: Box<BlockedConv>,
        /// The weight used: the pruned weight, if there is a gate.
        weight: Tensor,
        /// The dense weight, which receives the gradient.
        dense: Tensor,
        bias: Option<Tensor>,
        gate: Option<Gate>,
    },
    /// `relu(norm(x) + residual)`; each part may be missing. It is computed only when a reader needs it stored.
    /// Convolutions compute it while they read it.
    Pointwise { x: Arc<Node>, norm: Option<Arc<Norm>>, residual: Option<Arc<Node>>, relu: bool },
    /// Average pooling.
    Average { x: Arc<Node>, windows: Windows },
    /// Max pooling.
    Maximum { x: Arc<Node>, windows: MaxWindows },
    /// A concatenation along the channels; no part is a concatenation. It is stored in one piece only if a reader needs
    /// that; convolutions and batch norms do not.
    Concat { parts: Vec<Arc<Node>> },
}

/// A batch norm: `scale·x + shift` per channel.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    /// γ.
    pub(crate) weight: Tensor,
    /// β.
    pub(crate) bias: Tensor,
    /// Mean of each channel.
    pub(crate) mean: Vec<f32>,
    /// Reciprocal of the standard deviation of each channel.
    pub(crate) inverse_std: Vec<f64>,
    /// Whether mean and standard deviation are those of the batch. They then depend on `x`.
    pub(crate) is_of_batch: bool,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl Norm {
    /// A batch norm with these statistics.
    pub(crate) fn new(
        weight: &Tensor,
        bias: &Tensor,
        mean: Vec<f32>,
        inverse_std: Vec<f64>,
        is_of_batch: bool,
    ) -> Result<Self> {
        let (scale, shift) = with_values(&[weight, bias], |v| {
            let scale: Vec<f32> =
                inverse_std.iter().zip(v[0]).map(|(s, &w)| (s * f64::from(w)) as f32).collect();
            let shift = mean.iter().zip(&scale).zip(v[1]).map(|((m, s), b)| b - m * s).collect();
            (scale, shift)
        })?;
        let (weight, bias) = (weight.clone(), bias.clone());
        Ok(Self { weight, bias, mean, inverse_std, is_of_batch, scale, shift })
    }
}

impl Node {
    fn new(kernels: &KernelContext, plane: Plane, is_flat: bool, op: Op, is_tracked: bool) -> Self {
        let is_computed_later = matches!(op, Op::Pointwise { .. } | Op::Concat { .. });
        let op = if is_tracked || is_computed_later { op } else { Op::Constant };
        let (kernels, value) = (kernels.clone(), OnceLock::new());
        let (own_moments, moments) = (OnceLock::new(), OnceLock::new());
        Self { plane, is_flat, op, is_tracked, kernels, value, own_moments, moments }
    }

    fn with_value(self, value: Buffer) -> Arc<Self> {
        Arc::new(Self { value: OnceLock::from(value), ..self })
    }

    /// A tensor `[batch, channels, height, width]` or `[batch, features]`.
    pub(crate) fn input(
        tensor: &Tensor,
        is_tracked: bool,
        kernels: &KernelContext,
    ) -> Result<Arc<Self>> {
        let (plane, is_flat) = match *tensor.dims() {
            [batch, channels, height, width] => (Plane { batch, channels, height, width }, false),
            [batch, channels] => (Plane { batch, channels, height: 1, width: 1 }, true),
            _ => candle_core::bail!(
                "expected [batch, channels, height, width] or [batch, features], got {:?}",
                tensor.dims()
            ),
        };
        let mut value = Buffer::any(plane.len());
        kernels.time(Work::Layout, || {
            with_values(&[tensor], |v| lanes::from_nchw(&plane, v[0], &mut value))
        })?;
        let is_tracked = is_tracked && tensor.track_op();
        Ok(Self::new(kernels, plane, is_flat, Op::Input(tensor.clone()), is_tracked)
            .with_value(value))
    }

    /// Convolves; with gradients, also computes the moments of the result.
    pub(crate) fn conv(x: &Arc<Self>, shape: ConvShape, weights: &Weights) -> Result<Arc<Self>> {
        let Weights { weight: dense, bias, gate, is_tracked, .. } = *weights;
        let kernels = &x.kernels;
        let weight = match gate {
            Some(gate) => kernels.time(Work::Threshold, || threshold(dense, gate))?,
            None => dense.contiguous()?,
        };
        let conv = BlockedConv::new(shape);
        let plane = *conv.output();
        let mut value = Buffer::any(plane.len());
        let read: Vec<&Tensor> = std::iter::once(&weight).chain(bias).collect();
        let moments = with_values(&read, |v| {
            let (kept, density) = choice::kept(gate, v[0]);
            let packing = kernels.packing(&conv, Direction::Forward, density);
            let packed = kernels.time(Work::Pack, || conv.pack(v[0], kept, packing));
            let bias = v.get(1).copied();
            x.with_source(|source| {
                kernels.time(Work::Forward, || match is_tracked {
                    true => {
                        let share = kernels.share(plane.batch);
                        Some(conv.forward_with_moments(&packed, source, bias, &mut value, share))
                    }
                    false => {
                        conv.forward(&packed, source, bias, &mut value);
                        None
                    }
                })
            })
        })?;
        let is_tracked =
            is_tracked && (x.is_tracked || dense.track_op() || bias.is_some_and(|b| b.track_op()));
        let op = Op::Conv {
            x: x.clone(),
            conv: Box::new(conv),
            weight,
            dense: dense.clone(),
            bias: bias.cloned(),
            gate: gate.cloned(),
        };
        let node = Self::new(kernels, plane, x.is_flat, op, is_tracked);
        if let Some(moments) = moments {
            node.own_moments.get_or_init(|| moments);
        }
        Ok(node.with_value(value))
    }

    /// Applies a batch norm.
    pub(crate) fn norm(x: &Arc<Self>, norm: Norm, is_tracked: bool) -> Arc<Self> {
        let is_tracked =
            is_tracked && (x.is_tracked || norm.weight.track_op() || norm.bias.track_op());
        let op =
            Op::Pointwise { x: x.clone(), norm: Some(Arc::new(norm)), residual: None, relu: false };
        Arc::new(Self::new(&x.kernels, x.plane, x.is_flat, op, is_tracked))
    }

    /// Applies a ReLU. It is fused into an operation that has not been computed yet.
    pub(crate) fn relu(self: &Arc<Self>) -> Arc<Self> {
        let op = match (&self.op, self.value.get()) {
            (Op::Pointwise { x, norm, residual, relu: false }, None) => Op::Pointwise {
                x: x.clone(),
                norm: norm.clone(),
                residual: residual.clone(),
                relu: true,
            },
            _ => Op::Pointwise { x: self.clone(), norm: None, residual: None, relu: true },
        };
        Arc::new(Self::new(&self.kernels, self.plane, self.is_flat, op, self.is_tracked))
    }

    /// The sum of two activations of equal shape. It is fused into a batch norm that has not been computed yet.
    pub(crate) fn add(a: &Arc<Self>, b: &Arc<Self>) -> Result<Arc<Self>> {
        if a.plane != b.plane {
            candle_core::bail!(
                "add: activations of shapes {:?} and {:?}; the shapes must be equal",
                a.dims(),
                b.dims()
            )
        }
        let takes_along = |node: &Arc<Self>| {
            let is_open = matches!(node.op, Op::Pointwise { residual: None, relu: false, .. });
            is_open && node.value.get().is_none()
        };
        let (a, b) = if !takes_along(a) && takes_along(b) { (b, a) } else { (a, b) };
        let (x, norm) = match &a.op {
            Op::Pointwise { x, norm, .. } if takes_along(a) => (x.clone(), norm.clone()),
            _ => (a.clone(), None),
        };
        let op = Op::Pointwise { x, norm, residual: Some(b.clone()), relu: false };
        let is_tracked = a.is_tracked || b.is_tracked;
        Ok(Arc::new(Self::new(&a.kernels, a.plane, a.is_flat, op, is_tracked)))
    }

    /// Global average pooling to `[batch, channels]`.
    pub(crate) fn global_average(x: &Arc<Self>) -> Arc<Self> {
        let windows = Windows { size: (x.plane.height.max(1), x.plane.width.max(1)) };
        Self::average(x, windows, true)
    }

    /// Average pooling. With `is_flat` there must be a single window, and the result is `[batch, channels]`.
    pub(crate) fn average(x: &Arc<Self>, windows: Windows, is_flat: bool) -> Arc<Self> {
        let plane = windows.output(&x.plane);
        let mut value = Buffer::any(plane.len());
        let pixels = x.value();
        x.kernels.time(Work::Pool, || pool::average(&x.plane, windows, pixels, &mut value));
        Self::new(&x.kernels, plane, is_flat, Op::Average { x: x.clone(), windows }, x.is_tracked)
            .with_value(value)
    }

    /// Max pooling.
    pub(crate) fn maximum(x: &Arc<Self>, windows: MaxWindows) -> Result<Arc<Self>> {
        let Some(plane) = windows.output(&x.plane) else {
            candle_core::bail!("max_pool: {windows:?} do not fit an input of shape {:?}", x.dims())
        };
        let mut value = Buffer::any(plane.len());
        let pixels = x.value();
        x.kernels.time(Work::Pool, || pool::maximum(&x.plane, windows, pixels, &mut value));
        let op = Op::Maximum { x: x.clone(), windows };
        Ok(Self::new(&x.kernels, plane, false, op, x.is_tracked).with_value(value))
    }

    /// Concatenates the channels of all parts.
    pub(crate) fn concat(parts: &[Arc<Self>]) -> Result<Arc<Self>> {
        let [first, ..] = parts else { candle_core::bail!("concat: there are no parts") };
        let channels = parts.iter().map(|part| part.plane.channels).sum();
        let plane = Plane { channels, ..first.plane };
        for part in parts {
            if part.plane != (Plane { channels: part.plane.channels, ..plane }) {
                candle_core::bail!(
                    "concat: parts of shapes {:?} and {:?}; they may differ only in the second dimension",
                    first.dims(),
                    part.dims()
                )
            }
        }
        let is_tracked = parts.iter().any(|part| part.is_tracked);
        let flat = parts.iter().flat_map(|part| match &part.op {
            Op::Concat { parts } => &parts[..],
            _ => std::slice::from_ref(part),
        });
        let op = Op::Concat { parts: flat.cloned().collect() };
        Ok(Arc::new(Self::new(&first.kernels, plane, first.is_flat, op, is_tracked)))
    }

    /// Moments of each channel over the batch.
    pub(crate) fn moments(&self) -> Result<&[Moments]> {
        if let Some(moments) = self.moments.get() {
            return Ok(moments);
        }
        let found = match &self.op {
            Op::Concat { parts } => {
                let parts: Result<Vec<_>> = parts.iter().map(|part| part.moments()).collect();
                parts?.concat()
            }
            _ => {
                let own = match self.own_moments.get() {
                    Some(own) => own.clone(),
                    None => {
                        let (value, share) = (self.value(), self.kernels.share(self.plane.batch));
                        self.kernels.time(Work::Norm, || norm::moments(&self.plane, value, share))
                    }
                };
                let of_none = || vec![Moments::default(); self.plane.channels];
                self.kernels.sum(own)?.unwrap_or_else(of_none)
            }
        };
        Ok(self.moments.get_or_init(|| found))
    }

    /// The values, computed on the first call.
    pub(super) fn value(&self) -> &[Lanes] {
        self.value.get_or_init(|| {
            let mut value = Buffer::any(self.plane.len());
            match &self.op {
                Op::Pointwise { x, residual, relu, .. } => x.with_view(|x| {
                    let main = self.affine(x, false);
                    let mut write = |residual: Option<Source>| {
                        self.kernels.time(Work::Norm, || {
                            norm::combine(&self.plane, main, residual, *relu, &mut value)
                        });
                    };
                    match residual {
                        Some(residual) => residual.with_source(|source| write(Some(source))),
                        None => write(None),
                    }
                }),
                Op::Concat { parts } => {
                    let joined = joined(parts);
                    self.kernels.time(Work::Layout, || concat(&joined, &mut value));
                }
                _ => unreachable!("every other activation is computed when it is made"),
            }
            value
        })
    }

    /// Calls `f` with the stored values: in parts if this is a concatenation that no reader needed in one piece.
    pub(super) fn with_view<R>(&self, f: impl FnOnce(ActivationView) -> R) -> R {
        match &self.op {
            Op::Concat { parts } if !self.is_computed() => {
                f(ActivationView::Joined(&joined(parts)))
            }
            _ => f(ActivationView::Whole(self.value())),
        }
    }

    /// Whether its value has been computed.
    pub(super) fn is_computed(&self) -> bool {
        self.value.get().is_some()
    }

    /// The batch norm of this pointwise activation, on `x`.
    fn affine<'a>(&'a self, x: ActivationView<'a>, with_relu: bool) -> Source<'a> {
        match &self.op {
            Op::Pointwise { norm: Some(norm), relu, .. } => Source::Normed {
                x,
                scale: &norm.scale,
                shift: &norm.shift,
                relu: *relu && with_relu,
            },
            _ => Source::Plain(x),
        }
    }

    /// Calls `f` with this activation in the form that kernels read: the stored values, or the operation that computes
    /// them while they are read.
    pub(super) fn with_source<R>(&self, f: impl FnOnce(Source) -> R) -> R {
        match &self.op {
            Op::Pointwise { x, norm: Some(_), residual: None, .. } if !self.is_computed() => {
                x.with_view(|x| f(self.affine(x, true)))
            }
            _ => self.with_view(|x| f(Source::Plain(x))),
        }
    }

    /// Where the ReLU of this activation passes a gradient.
    pub(super) fn passes(&self) -> PassWhere<'_> {
        match &self.op {
            Op::Pointwise { relu: true, residual: None, norm: Some(norm), .. }
                if !self.is_computed() =>
            {
                PassWhere::Normed { scale: &norm.scale, shift: &norm.shift }
            }
            Op::Pointwise { relu: true, .. } => PassWhere::Positive(self.value()),
            _ => PassWhere::Everywhere,
        }
    }

    /// The kernel context of its pass.
    pub(crate) fn kernels(&self) -> &KernelContext {
        &self.kernels
    }

    /// The public shape.
    pub(crate) fn dims(&self) -> Vec<usize> {
        let Plane { batch, channels, height, width } = self.plane;
        if self.is_flat { vec![batch, channels] } else { vec![batch, channels, height, width] }
    }

    /// The values in NCHW.
    pub(super) fn to_nchw(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.plane.batch * self.plane.image()];
        let value = self.value();
        self.kernels.time(Work::Layout, || lanes::to_nchw(&self.plane, value, &mut out));
        out
    }

    /// The parts of a concatenation, or the activation itself.
    pub(super) fn parts(self: &Arc<Self>) -> &[Arc<Self>] {
        match &self.op {
            Op::Concat { parts } => parts,
            _ => std::slice::from_ref(self),
        }
    }

    /// The tracked activations that this one was computed from.
    pub(super) fn parents(&self) -> impl Iterator<Item = &Arc<Self>> {
        let (x, others): (Option<&Arc<Self>>, &[Arc<Self>]) = match &self.op {
            Op::Constant | Op::Input(_) => (None, &[]),
            Op::Conv { x, .. } | Op::Average { x, .. } | Op::Maximum { x, .. } => (Some(x), &[]),
            Op::Pointwise { x, residual, .. } => (Some(x), residual.as_slice()),
            Op::Concat { parts } => (None, parts),
        };
        x.into_iter().chain(others).filter(|node| node.is_tracked)
    }

    /// The candle tensors of this operation that need a gradient.
    pub(super) fn leaves(&self) -> Vec<&Tensor> {
        let leaves: Vec<&Tensor> = match &self.op {
            Op::Constant
            | Op::Average { .. }
            | Op::Maximum { .. }
            | Op::Concat { .. }
            | Op::Pointwise { norm: None, .. } => Vec::new(),
            Op::Input(tensor) => vec![tensor],
            Op::Conv { dense, bias, .. } => std::iter::once(dense).chain(bias).collect(),
            Op::Pointwise { norm: Some(norm), .. } => vec![&norm.weight, &norm.bias],
        };
        leaves.into_iter().filter(|tensor| tensor.track_op()).collect()
    }

    /// A tensor without a gradient.
    pub(super) fn constant(values: Vec<f32>, dims: &[usize]) -> Result<Tensor> {
        Tensor::from_vec(values, dims, &Device::Cpu)
    }
}

fn joined(parts: &[Arc<Node>]) -> JoinedParts<'_> {
    JoinedParts::new(parts.iter().map(|part| (part.plane, part.value())).collect())
}
