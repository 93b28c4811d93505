//! The backward pass over blocked activations.
//!
//! It runs from the last activation to the first. The gradient of an activation is complete before it is used. If only
//! a batch norm reads the output of a convolution, the gradient w.r.t. that output is not stored: the backward pass of
//! the convolution computes it while it packs the gradient.

use super::{
    choice::{self, Direction},
    context::KernelContext,
    incoming::{Incoming, Through, exclusive},
    node::{Node, Norm, Op},
    profile::Work,
    sampling,
    together::{EXCHANGES, Summed, Together},
};
use crate::{Gate, ops::with_values};
use candle_core::{Result, Tensor, TensorId};
use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};
use taper_kernels::{
    buffer::Buffer,
    concat,
    conv::blocked::{BackwardSums, BlockedConv, Finish, GradAt, GradPart, InputGrad, WeightGrad},
    fused::{GradSource, GradSums, NormSlope, PassWhere},
    lanes::{self, Lanes, Plane},
    norm::blocked as norm,
    pool,
    tree::Roots,
};

/// Gradients w.r.t. the candle tensors that an activation was computed from.
pub(super) type LeafGrads = HashMap<TensorId, Vec<f32>>;

/// The gradients w.r.t. all tensors that `end` was computed from. `grad` is the gradient of `end` in NCHW. If ranks
/// share a batch, gradients are over the whole batch, except the gradients of inputs.
pub(super) fn backward(end: &Arc<Node>, grad: &[f32]) -> Result<LeafGrads> {
    let order = order(end);
    let Some(share) = end.kernels().rank_share() else { return run(end, &order, grad, None) };
    let n_convs = order.iter().filter(|node| matches!(node.op, Op::Conv { .. })).count();
    share.ranks().exchanging(n_convs * EXCHANGES, |exchange| {
        run(end, &order, grad, Some(Together::new(share, exchange)))
    })
}

fn run(
    end: &Arc<Node>,
    order: &[Arc<Node>],
    grad: &[f32],
    together: Option<Together>,
) -> Result<LeafGrads> {
    let mut readers: HashMap<*const Node, usize> = HashMap::new();
    for node in order {
        for parent in node.parents() {
            *readers.entry(Arc::as_ptr(parent)).or_default() += 1;
        }
    }
    let awaited = readers.clone();
    let (grads, leaves, weights) = (HashMap::new(), HashMap::new(), Vec::new());
    let mut pass = Backward { readers, awaited, grads, leaves, together, weights };
    let mut last = Buffer::any(end.plane.len());
    end.kernels().time(Work::Layout, || lanes::from_nchw(&end.plane, grad, &mut last));
    pass.grads.insert(Arc::as_ptr(end), Incoming::stored(last));
    for node in order {
        let Some(incoming) = pass.grads.remove(&Arc::as_ptr(node)) else {
            // The gradients of this concatenation were added to its parts directly.
            node.parts()
                .iter()
                .filter(|part| !Arc::ptr_eq(part, node))
                .for_each(|p| pass.arrive(p));
            continue;
        };
        let incoming = match &node.op {
            Op::Conv { .. } => incoming,
            _ => settled(node, incoming),
        };
        match &node.op {
            Op::Constant => {}
            Op::Input(tensor) => pass.input(node, tensor, &incoming),
            Op::Conv { x, conv, weight, dense, bias, gate } => {
                let weights = [weight, dense];
                pass.conv(node, x, conv, weights, bias.as_ref(), gate.as_ref(), incoming)?;
            }
            Op::Pointwise { x, norm, residual, .. } => {
                pass.pointwise(node, x, norm.as_deref(), residual.as_ref(), incoming)?;
            }
            Op::Average { x, windows } => {
                let grad = &incoming.grad;
                let (out, is_added) = pass.open(x);
                node.kernels().time(Work::Pool, || {
                    pool::average_grad(&x.plane, *windows, grad, out, is_added);
                });
            }
            Op::Maximum { x, windows } => {
                let (out, is_added) = pass.open(x);
                let grad = &incoming.grad;
                node.kernels().time(Work::Pool, || {
                    pool::maximum_grad(&x.plane, *windows, x.value(), grad, out, is_added);
                });
            }
            Op::Concat { parts } => {
                let whole = (node.plane, &incoming.grad[..]);
                let mut first = 0;
                for part in parts {
                    if part.is_tracked {
                        let (out, is_added) = pass.open(part);
                        node.kernels().time(Work::Layout, || {
                            concat::part(whole, first, (part.plane, out), is_added);
                        });
                    }
                    first += part.plane.channels;
                }
            }
        }
    }
    if let Some(together) = pass.together.take() {
        let weights = std::mem::take(&mut pass.weights);
        for (leaf, Summed { weight, bias }) in weights.into_iter().zip(together.finish()?) {
            pass.weight_leaves(leaf, weight, bias)?;
        }
    }
    Ok(pass.leaves)
}

/// `end` and the tracked activations that it was computed from. Each activation comes before its inputs.
pub(super) fn order(end: &Arc<Node>) -> Vec<Arc<Node>> {
    let (mut done, mut seen) = (Vec::new(), HashSet::new());
    // Depth first, without recursion because networks may be deep. A node is done after its parents.
    let mut stack = vec![(end.clone(), false)];
    while let Some((node, is_expanded)) = stack.pop() {
        if is_expanded {
            done.push(node);
        } else if seen.insert(Arc::as_ptr(&node)) {
            stack.push((node.clone(), true));
            stack.extend(node.parents().map(|parent| (parent.clone(), false)));
        }
    }
    done.reverse();
    done
}

struct Backward<'a> {
    /// Number of tracked readers of each activation.
    readers: HashMap<*const Node, usize>,
    /// Number of readers that have not added their gradient yet.
    awaited: HashMap<*const Node, usize>,
    grads: HashMap<*const Node, Incoming>,
    leaves: LeafGrads,
    /// Sums the gradients of weights over the ranks, if several ranks share the batch.
    together: Option<Together<'a>>,
    /// The weights and biases of these gradients, in the same order.
    weights: Vec<WeightLeaf>,
}

/// The weight and bias of a layer, for their gradients.
struct WeightLeaf {
    kernels: KernelContext,
    dense: Tensor,
    bias: Option<Tensor>,
    gate: Option<Gate>,
}

impl Backward<'_> {
    /// The buffer for a gradient of `node`, and whether it already contains a gradient to add to.
    fn open(&mut self, node: &Arc<Node>) -> (&mut [Lanes], bool) {
        self.arrive(node);
        let (incoming, is_added) = self.take(node);
        let incoming = self.grads.entry(Arc::as_ptr(node)).or_insert(incoming);
        (exclusive(&mut incoming.grad), is_added)
    }

    /// Removes and returns the gradient of `node`, or a new buffer, and whether there was a gradient.
    fn take(&mut self, node: &Arc<Node>) -> (Incoming, bool) {
        match self.grads.remove(&Arc::as_ptr(node)) {
            Some(incoming) => (incoming, true),
            None => (Incoming::stored(Buffer::any(node.plane.len())), false),
        }
    }

    /// The targets of the input gradient of a convolution of `x`.
    fn targets<'a>(&mut self, x: &'a Arc<Node>) -> Targets<'a> {
        let is_last = self.awaited.get(&Arc::as_ptr(x)) == Some(&1);
        self.arrive(x);
        let is_open = self.grads.get(&Arc::as_ptr(x)).is_some_and(|grad| grad.through.is_some());
        let whole = Targets { nodes: std::slice::from_ref(x), ..Targets::default() };
        let Op::Pointwise { x: before, norm: Some(normed), residual, .. } = &x.op else {
            return whole;
        };
        if !is_last || is_open {
            return whole;
        }
        let finish = Some((before, &**normed));
        let only_reads = |node: &Arc<Node>| self.readers.get(&Arc::as_ptr(node)) == Some(&1);
        let parts = before.parts();
        let are_distinct =
            parts.iter().map(Arc::as_ptr).collect::<HashSet<_>>().len() == parts.len();
        // If a convolution computed `before`, its backward pass computes this gradient while packing.
        let is_of_conv = only_reads(before) && matches!(before.op, Op::Conv { .. });
        let are_before = only_reads(x)
            && residual.is_none()
            && !is_of_conv
            && are_distinct
            && parts.iter().all(|part| part.is_tracked);
        if !are_before {
            return Targets { finish, ..whole };
        }
        self.arrive(before);
        Targets { nodes: parts, finish, are_before }
    }

    /// Counts one gradient of `node` as added.
    fn arrive(&mut self, node: &Arc<Node>) {
        if let Some(n) = self.awaited.get_mut(&Arc::as_ptr(node)) {
            *n -= 1;
        }
    }

    /// Adds a stored gradient to the gradient of `node`, or makes it the first.
    fn give(&mut self, node: &Arc<Node>, grad: Arc<Buffer>) {
        self.arrive(node);
        match self.grads.entry(Arc::as_ptr(node)) {
            Entry::Vacant(entry) => {
                entry.insert(Incoming { grad, through: None, finished: None });
            }
            Entry::Occupied(mut entry) => {
                let out = exclusive(&mut entry.get_mut().grad);
                node.kernels().time(Work::Norm, || {
                    norm::gradient(&node.plane, GradSource::Plain(&grad), out, true);
                });
            }
        }
    }

    fn leaf(&mut self, tensor: &Tensor, grad: Vec<f32>) {
        match self.leaves.entry(tensor.id()) {
            Entry::Vacant(entry) => {
                entry.insert(grad);
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().iter_mut().zip(grad).for_each(|(sum, part)| *sum += part);
            }
        }
    }

    fn input(&mut self, node: &Node, tensor: &Tensor, incoming: &Incoming) {
        let mut grad = vec![0.0; tensor.elem_count()];
        node.kernels()
            .time(Work::Layout, || lanes::to_nchw(&node.plane, &incoming.grad, &mut grad));
        self.leaf(tensor, grad);
    }

    fn pointwise(
        &mut self,
        node: &Arc<Node>,
        x: &Arc<Node>,
        normed: Option<&Norm>,
        residual: Option<&Arc<Node>>,
        mut incoming: Incoming,
    ) -> Result<()> {
        let plane = &node.plane;
        let mut is_passed = incoming.finished.is_some();
        if let Some(residual) = residual.filter(|residual| residual.is_tracked) {
            // Both branches read the gradient masked by the ReLU, so it is stored.
            let pass = node.passes();
            if !is_passed && !matches!(pass, PassWhere::Everywhere) {
                let grad = exclusive(&mut incoming.grad);
                node.kernels().time(Work::Norm, || norm::mask(plane, grad, pass));
            }
            is_passed = true;
            self.give(residual, incoming.grad.clone());
        }
        let pass = if is_passed { PassWhere::Everywhere } else { node.passes() };
        let slopes = match normed {
            None => vec![NormSlope { scale: 1.0, ..NormSlope::default() }; plane.channels],
            Some(normed) => {
                let sums = match incoming.finished {
                    Some(sums) => sums,
                    None => {
                        let (grad, share) = (&incoming.grad, node.kernels().share(plane.batch));
                        let own = node.kernels().time(Work::Norm, || {
                            x.with_view(|x| norm::sums(plane, grad, x, pass, &normed.mean, share))
                        });
                        grad_sums(node, own)?
                    }
                };
                self.norm_leaves(normed, &sums);
                slopes(normed, &sums, count(node))?
            }
        };
        if !x.is_tracked {
            return Ok(());
        }
        let is_only_reader = self.readers.get(&Arc::as_ptr(x)) == Some(&1);
        if is_only_reader && matches!(x.op, Op::Conv { .. }) {
            let rectifier = (!is_passed).then(|| node.clone());
            let through = Through { slopes, rectifier };
            let incoming = Incoming { grad: incoming.grad, through: Some(through), finished: None };
            self.grads.insert(Arc::as_ptr(x), incoming);
        } else if normed.is_none() && matches!(pass, PassWhere::Everywhere) {
            self.give(x, incoming.grad);
        } else {
            let (out, is_added) = self.open(x);
            node.kernels().time(Work::Norm, || {
                x.with_view(|x| {
                    let (grad, slopes) = (&incoming.grad[..], &slopes[..]);
                    let source = GradSource::Normed { grad, x, pass, slopes };
                    norm::gradient(plane, source, out, is_added);
                });
            });
        }
        Ok(())
    }

    fn norm_leaves(&mut self, normed: &Norm, sums: &[GradSums]) {
        if normed.weight.track_op() {
            let dots = sums.iter().zip(&normed.inverse_std).map(|(s, i)| (s.dot * i) as f32);
            self.leaf(&normed.weight, dots.collect());
        }
        if normed.bias.track_op() {
            self.leaf(&normed.bias, sums.iter().map(|s| s.grad as f32).collect());
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one operation")]
    fn conv(
        &mut self,
        node: &Arc<Node>,
        x: &Arc<Node>,
        conv: &BlockedConv,
        [weight, dense]: [&Tensor; 2],
        bias: Option<&Tensor>,
        gate: Option<&Gate>,
        incoming: Incoming,
    ) -> Result<()> {
        let has_bias = bias.is_some_and(|bias| bias.track_op());
        let targets = if x.is_tracked { self.targets(x) } else { Targets::default() };
        let mut taken: Vec<_> = targets.nodes.iter().map(|node| self.take(node)).collect();
        let choice = node.kernels().choice();
        let share = node.kernels().share(x.plane.batch);
        let sampled =
            gate.and_then(|gate| sampling::sampled(gate, share.of.div_ceil(lanes::LANES), choice));
        let sums = with_values(&[weight], |v| {
            let packed = x.is_tracked.then(|| {
                let (kept, density) = choice::kept(gate, v[0]);
                let packing = node.kernels().packing(conv, Direction::Input, density);
                node.kernels().time(Work::Pack, || conv.pack_transposed(v[0], kept, packing))
            });
            // The gate sets gradients outside the live set to 0 later.
            let few_live = gate.and_then(|gate| sampling::few_live(gate, choice));
            let at = match (few_live, gate, &sampled) {
                (Some(live), ..) => GradAt::Masked(live),
                (_, Some(gate), Some((blocks, scale))) => {
                    let blocks = &blocks[share.first / lanes::LANES..][..conv.input().blocks()];
                    GradAt::Sampled { exact: &gate.mask, blocks, scale: *scale }
                }
                _ => GradAt::All,
            };
            let to_weight = (dense.track_op() || has_bias).then_some(WeightGrad { at, has_bias });
            let mut run = |finish: Option<Finish>| {
                let parts = taken.iter_mut().zip(targets.nodes);
                let parts = parts.map(|((incoming, is_added), node)| GradPart {
                    channels: node.plane.channels,
                    out: exclusive(&mut incoming.grad),
                    is_added: *is_added,
                });
                let parts = parts.collect();
                let to_input = packed.as_ref().map(|weights| InputGrad { weights, parts, finish });
                x.with_source(|source| {
                    incoming.with_source(node, |grad| {
                        node.kernels().time(Work::Backward, || {
                            conv.backward(source, grad, to_input, to_weight, share)
                        })
                    })
                })
            };
            match targets.finish {
                None => run(None),
                Some((before, normed)) => before.with_view(|view| {
                    let scale = targets.are_before.then_some(&normed.scale[..]);
                    let (pass, mean) = (x.passes(), &normed.mean[..]);
                    run(Some(Finish { pass, x: view, mean, scale }))
                }),
            }
        })?;
        let BackwardSums { finish, weight: weight_sums } = sums;
        if let Some((_, normed)) = targets.finish {
            let sums = grad_sums(x, finish)?;
            if targets.are_before {
                self.norm_leaves(normed, &sums);
                let slopes = slopes(normed, &sums, count(x))?;
                let mut rest = &slopes[..];
                // With constant statistics there is nothing to subtract.
                for ((incoming, _), node) in
                    taken.iter_mut().zip(targets.nodes).filter(|_| normed.is_of_batch)
                {
                    let (slopes, after) = rest.split_at(node.plane.channels);
                    incoming.subtract(slopes);
                    rest = after;
                }
            } else {
                taken[0].0.finished = Some(sums);
            }
        }
        for ((incoming, _), node) in taken.into_iter().zip(targets.nodes) {
            self.grads.insert(Arc::as_ptr(node), incoming);
        }
        let Some(sums) = weight_sums else { return Ok(()) };
        let leaf = WeightLeaf {
            kernels: node.kernels().clone(),
            dense: dense.clone(),
            bias: bias.filter(|_| has_bias).cloned(),
            gate: gate.cloned(),
        };
        match &mut self.together {
            Some(together) => {
                let live = gate.and_then(|gate| gate.live.clone());
                together.begin(sums, live, sampled.map(|(blocks, _)| blocks))?;
                self.weights.push(leaf);
                Ok(())
            }
            None => {
                let (weight, bias) = sums.gradients();
                self.weight_leaves(leaf, weight, bias)
            }
        }
    }

    fn weight_leaves(
        &mut self,
        leaf: WeightLeaf,
        mut weight: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<()> {
        let WeightLeaf { kernels, dense, bias: of_bias, gate } = leaf;
        if dense.track_op() {
            if let Some(gate) = gate {
                with_values(&[&dense], |v| {
                    kernels.time(Work::Threshold, || gate.scale_grad(v[0], &mut weight));
                })?;
            }
            self.leaf(&dense, weight);
        }
        if let Some(of_bias) = of_bias {
            self.leaf(&of_bias, bias);
        }
        Ok(())
    }
}

/// The targets of an input gradient.
#[derive(Default)]
struct Targets<'a> {
    /// The activations that receive the gradient; their channels are consecutive.
    nodes: &'a [Arc<Node>],
    /// The batch norm that computes the convolution's input, and the input of this batch norm. Set if this convolution
    /// is the last to add to the gradient.
    finish: Option<(&'a Arc<Node>, &'a Norm)>,
    /// Whether `nodes` are the inputs of this batch norm instead of its output.
    are_before: bool,
}

/// The gradient with all pending computations applied.
fn settled(node: &Node, mut incoming: Incoming) -> Incoming {
    if incoming.through.is_some() {
        let mut grad = Buffer::any(node.plane.len());
        incoming.with_source(node, |source| {
            node.kernels()
                .time(Work::Norm, || norm::gradient(&node.plane, source, &mut grad, false));
        });
        incoming = Incoming::stored(grad);
    }
    incoming
}

/// The sums of a gradient over the batch, for each channel of `node`.
fn grad_sums(node: &Node, own: Roots<Vec<GradSums>>) -> Result<Vec<GradSums>> {
    let of_none = || vec![GradSums::default(); node.plane.channels];
    Ok(node.kernels().sum(own)?.unwrap_or_else(of_none))
}

/// Number of values of each channel in the batch.
fn count(node: &Node) -> f64 {
    let batch = node.kernels().n_images(node.plane.batch);
    Plane { batch, ..node.plane }.count() as f64
}

fn slopes(normed: &Norm, sums: &[GradSums], count: f64) -> Result<Vec<NormSlope>> {
    let of_batch = |value: f64| if normed.is_of_batch { value as f32 } else { 0.0 };
    with_values(&[&normed.weight], |v| {
        let channels = v[0].iter().zip(&normed.inverse_std).zip(normed.mean.iter().zip(sums));
        channels
            .map(|((&weight, &inverse), (&mean, sums))| NormSlope {
                scale: (f64::from(weight) * inverse) as f32,
                mean,
                mean_grad: of_batch(sums.grad / count),
                slope: of_batch(sums.dot * inverse * inverse / count),
            })
            .collect()
    })
}
