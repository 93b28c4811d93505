//! The backward pass over blocked activations.
//!
//! From the last activation back, each one's gradient is complete before it is used. A gradient that a convolution is
//! the only one to read is not stored behind the normalisation: the convolution computes it while it packs it.

use super::{
    choice::{self, Direction},
    node::{Node, Norm, Op},
    profile::Work,
    sampling,
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
    conv::blocked::{BlockedConv, Finish, GradAt, InputGrad, WeightGrad},
    fused::{GradSource, GradSums, NormSlope, PassWhere},
    lanes::{self, Lanes},
    norm::blocked as norm,
    pool,
};

/// Gradients of the tensors that an activation was computed from.
pub(super) type LeafGrads = HashMap<TensorId, Vec<f32>>;

/// The gradients of everything behind `end`, from that of `end` in NCHW.
pub(super) fn backward(end: &Arc<Node>, grad: &[f32]) -> Result<LeafGrads> {
    let order = order(end);
    let mut readers: HashMap<*const Node, usize> = HashMap::new();
    for node in &order {
        for parent in node.parents() {
            *readers.entry(Arc::as_ptr(parent)).or_default() += 1;
        }
    }
    let awaited = readers.clone();
    let mut pass = Backward { readers, awaited, grads: HashMap::new(), leaves: HashMap::new() };
    let mut last = Buffer::any(end.plane.len());
    end.kernels().time(Work::Layout, || lanes::from_nchw(&end.plane, grad, &mut last));
    pass.grads.insert(Arc::as_ptr(end), Incoming::stored(last));
    for node in &order {
        let Some(incoming) = pass.grads.remove(&Arc::as_ptr(node)) else { continue };
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
                let (out, is_added) = pass.open(x);
                let grad = &incoming.grad;
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
    Ok(pass.leaves)
}

/// What stands behind `end` and wants a gradient, each before what it was computed from.
pub(super) fn order(end: &Arc<Node>) -> Vec<Arc<Node>> {
    let (mut done, mut seen) = (Vec::new(), HashSet::new());
    // Depth first without recursion, as networks may be deep; a node is done after its parents.
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

/// The gradient of an activation.
struct Incoming {
    grad: Arc<Buffer>,
    /// What still has to be done to it: it is the gradient behind the normalisation of this reader.
    through: Option<Through>,
    /// The sums that the normalisation behind it needs, if it is finished: only what passes is left of it.
    finished: Option<Vec<GradSums>>,
}

/// A normalisation on the way back.
struct Through {
    reader: Arc<Node>,
    /// Whether the rectifier has been gone through already.
    is_passed: bool,
    slopes: Vec<NormSlope>,
}

impl Incoming {
    fn stored(grad: Buffer) -> Self {
        Self { grad: Arc::new(grad), through: None, finished: None }
    }

    /// The gradient as a kernel reads it; `x` is the activation that it belongs to.
    fn source<'a>(&'a self, x: &'a Node) -> GradSource<'a> {
        match &self.through {
            None => GradSource::Plain(&self.grad),
            Some(through) => GradSource::Normed {
                grad: &self.grad,
                x: x.value(),
                pass: match through.is_passed {
                    true => PassWhere::Everywhere,
                    false => through.reader.passes(),
                },
                slopes: &through.slopes,
            },
        }
    }
}

struct Backward {
    /// How often an activation is read by those that want a gradient.
    readers: HashMap<*const Node, usize>,
    /// How many of them have not given their gradient yet.
    awaited: HashMap<*const Node, usize>,
    grads: HashMap<*const Node, Incoming>,
    leaves: LeafGrads,
}

impl Backward {
    /// The place for a gradient of `node`, and whether there is one already to add to.
    fn open(&mut self, node: &Arc<Node>) -> (&mut [Lanes], bool) {
        self.arrive(node);
        let mut is_added = true;
        let incoming = self.grads.entry(Arc::as_ptr(node)).or_insert_with(|| {
            is_added = false;
            Incoming::stored(Buffer::any(node.plane.len()))
        });
        (exclusive(&mut incoming.grad), is_added)
    }

    /// Notes that one of the gradients of `node` comes now.
    fn arrive(&mut self, node: &Arc<Node>) {
        if let Some(n) = self.awaited.get_mut(&Arc::as_ptr(node)) {
            *n -= 1;
        }
    }

    /// Adds a gradient that is stored to that of `node`, or lets it be the first.
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
            // Both branches get what the rectifier lets pass, so it is stored.
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
                let sums = incoming.finished.unwrap_or_else(|| {
                    node.kernels().time(Work::Norm, || {
                        norm::sums(plane, &incoming.grad, x.value(), pass, &normed.mean)
                    })
                });
                self.norm_leaves(normed, &sums);
                slopes(normed, &sums, plane.count() as f64)?
            }
        };
        if !x.is_tracked {
            return Ok(());
        }
        let is_only_reader = self.readers.get(&Arc::as_ptr(x)) == Some(&1);
        if is_only_reader && matches!(x.op, Op::Conv { .. }) {
            let through = Through { reader: node.clone(), is_passed, slopes };
            let incoming = Incoming { grad: incoming.grad, through: Some(through), finished: None };
            self.grads.insert(Arc::as_ptr(x), incoming);
        } else if normed.is_none() && matches!(pass, PassWhere::Everywhere) {
            self.give(x, incoming.grad);
        } else {
            let (out, is_added) = self.open(x);
            let source =
                GradSource::Normed { grad: &incoming.grad, x: x.value(), pass, slopes: &slopes };
            node.kernels().time(Work::Norm, || norm::gradient(plane, source, out, is_added));
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
        let shape = conv.shape();
        let mut grad_weight = vec![0.0; if dense.track_op() { shape.n_weights() } else { 0 }];
        let has_bias = bias.is_some_and(|bias| bias.track_op());
        let mut grad_bias = vec![0.0; if has_bias { shape.channels_out } else { 0 }];
        let mut sums = None;
        let is_last = self.awaited.get(&Arc::as_ptr(x)) == Some(&1);
        let finish = match &x.op {
            Op::Pointwise { x: before, norm: Some(normed), .. } if is_last => {
                let sums = sums.insert(vec![GradSums::default(); x.plane.channels]);
                Some(Finish { pass: x.passes(), x: before.value(), mean: &normed.mean, sums })
            }
            _ => None,
        };
        let mut into = x.is_tracked.then(|| self.open(x));
        with_values(&[weight], |v| {
            let density = choice::density(v[0]);
            let packed = into.is_some().then(|| {
                let packing = node.kernels().packing(shape, Direction::Input, density);
                node.kernels().time(Work::Pack, || conv.pack_transposed(v[0], packing))
            });
            let to_input = packed.as_ref().zip(into.as_mut()).map(|(weights, (out, is_added))| {
                InputGrad { weights, out, is_added: *is_added, finish }
            });
            let choice = node.kernels().choice();
            let blocks =
                gate.and_then(|gate| sampling::sampled(gate, conv.input().blocks(), choice));
            // What is not live is zeroed by the gate.
            let at = match (gate.and_then(|gate| sampling::few_live(gate, choice)), gate, &blocks) {
                (Some(live), ..) => GradAt::Masked(live),
                (_, Some(gate), Some((blocks, scale))) => {
                    GradAt::Sampled { exact: &gate.mask, blocks, scale: *scale }
                }
                _ => GradAt::All,
            };
            let to_weight = (dense.track_op() || has_bias).then(|| WeightGrad {
                at,
                out: &mut grad_weight,
                bias: has_bias.then_some(&mut grad_bias[..]),
            });
            x.with_source(|source| {
                node.kernels().time(Work::Backward, || {
                    conv.backward(source, incoming.source(node), to_input, to_weight);
                });
            });
        })?;
        if let Some(incoming) = self.grads.get_mut(&Arc::as_ptr(x)) {
            incoming.finished = sums;
        }
        if dense.track_op() {
            if let Some(gate) = gate {
                with_values(&[dense], |v| {
                    node.kernels()
                        .time(Work::Threshold, || gate.scale_grad(v[0], &mut grad_weight));
                })?;
            }
            self.leaf(dense, grad_weight);
        }
        if let Some(bias) = bias.filter(|_| has_bias) {
            self.leaf(bias, grad_bias);
        }
        Ok(())
    }
}

/// The buffer for writing; copied if something else reads it.
fn exclusive(buffer: &mut Arc<Buffer>) -> &mut [Lanes] {
    if Arc::get_mut(buffer).is_none() {
        *buffer = Arc::new(Buffer::copy_of(buffer));
    }
    Arc::get_mut(buffer).expect("a buffer that has just been made has one owner")
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
