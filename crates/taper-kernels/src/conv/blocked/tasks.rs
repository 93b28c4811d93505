//! What one thread does at a time: some rows of the output, or the backward pass of a block.

use super::{
    BlockedConv, PackedWeights, band,
    multiply::Start,
    packed::{RowPadding, RowWindow, pack},
    weight_grad::{Pair, Positions},
    winograd,
};
use crate::{
    buffer::Buffer,
    fused::{GradSource, GradSums, Moments, OfRows, PassWhere, Source, SumRows},
    lanes::{Lanes, clear_tail},
    simd::{Kernel, Simd},
    sizes::signed,
};
use std::cell::RefCell;

/// Memory that a thread uses for one task after the other.
#[derive(Default)]
struct Scratch {
    input: RowWindow,
    grad: RowWindow,
    /// Points of input and gradient.
    points: (Vec<Lanes>, Vec<Lanes>),
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    // Taken and put back rather than borrowed in a closure, which would be compiled for no instruction set.
    fn take() -> Self {
        let mut scratch = SCRATCH.take();
        scratch.input.clear();
        scratch.grad.clear();
        scratch
    }

    fn put_back(self) {
        SCRATCH.set(self);
    }
}

/// Rows of the output of a block, whole bands of them but for the last.
pub(super) struct Forward<'a> {
    pub(super) conv: &'a BlockedConv,
    pub(super) weights: &'a PackedWeights,
    pub(super) source: Source<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) block: usize,
    /// The first row.
    pub(super) first: usize,
    pub(super) out: &'a mut [Lanes],
    pub(super) wants_moments: bool,
}

impl Kernel for Forward<'_> {
    /// Those of each band, or none.
    type Out = Vec<Vec<Moments>>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<Vec<Moments>> {
        let Self { conv, weights, source, bias, block, first, out, wants_moments } = self;
        let (gather, filled) = (&conv.forward, conv.output.filled(block));
        let padding = RowPadding { left: gather.left, width: gather.packed_width };
        let start = bias.map_or(Start::Zero, Start::Bias);
        let row = conv.output.row();
        let mut found = Vec::new();
        let mut scratch = Scratch::take();
        for (i, out) in out.chunks_mut(conv.band * row).enumerate() {
            let first = first + i * conv.band;
            let band = first..first + out.len() / row;
            let (rows, window) = (gather.rows(&band), &mut scratch.input);
            // SAFETY: the rows are those of this band, and the weights were packed for this shape.
            unsafe {
                let packed = pack::<S, _>(&source, &conv.input, block, rows, padding, window);
                let buffers = (&mut scratch.points.0, &mut scratch.points.1);
                band::band::<S>(gather, &weights.weights, &packed, band, start, buffers, out);
            }
            if bias.is_some() {
                clear_tail(out, filled);
            }
            if wants_moments {
                let mut moments = vec![Moments::default(); conv.output.channels];
                let width = conv.output.width;
                let rows = OfRows { rows: out, width, filled, moments: &mut moments };
                // SAFETY: the caller vouches for the instructions.
                unsafe { S::call(rows) };
                found.push(moments);
            }
        }
        scratch.put_back();
        found
    }
}

/// What a block adds to sums over the batch.
pub(super) struct BlockSums {
    /// Of each weight's gradient (or of each point, if they go by way of [`winograd`]), or none.
    pub(super) all: Buffer<f32>,
    /// Of the gradient of each position, or none.
    pub(super) at: Vec<f32>,
    /// Of the gradient of each output channel, or none.
    pub(super) bias: Vec<f32>,
    /// Of the gradient of each input channel, or none.
    pub(super) finish: Vec<GradSums>,
}

/// Which weights a block sums.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Nothing,
    All,
    At(&'a Positions),
}

/// A block of the input's gradient.
pub(super) struct ToInput<'a> {
    pub(super) weights: &'a PackedWeights,
    pub(super) is_added: bool,
    /// What passes, the whole input of the normalisation, and its centres.
    pub(super) finish: Option<(PassWhere<'a>, &'a [Lanes], &'a [f32])>,
    pub(super) out: &'a mut [Lanes],
}

/// The backward pass of a block.
pub(super) struct Backward<'a> {
    pub(super) conv: &'a BlockedConv,
    pub(super) source: Source<'a>,
    pub(super) grad: GradSource<'a>,
    pub(super) block: usize,
    pub(super) to_input: Option<ToInput<'a>>,
    pub(super) weights: Wanted<'a>,
    pub(super) has_bias: bool,
}

impl Kernel for Backward<'_> {
    type Out = BlockSums;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> BlockSums {
        let Self { conv, source, grad, block, mut to_input, weights, has_bias } = self;
        let (forward, transposed) = (&conv.forward, &conv.transposed);
        let mut sums = BlockSums {
            all: match weights {
                Wanted::All => Buffer::any(conv.n_sums()),
                _ => Buffer::any(0),
            },
            at: match weights {
                Wanted::At(positions) => vec![0.0; positions.len()],
                _ => Vec::new(),
            },
            bias: vec![0.0; if has_bias { conv.output.channels } else { 0 }],
            finish: match &to_input {
                Some(to) if to.finish.is_some() => {
                    vec![GradSums::default(); conv.input.channels]
                }
                _ => Vec::new(),
            },
        };
        let (height, stride) = (conv.input.height, conv.shape.stride);
        let n_bands = conv.output.height.div_ceil(conv.band);
        let mut scratch = Scratch::take();
        let Scratch { input: input_window, grad: grad_window, points: (u, v) } = &mut scratch;
        for i in 0..n_bands {
            let band = i * conv.band..((i + 1) * conv.band).min(conv.output.height);
            let is_last = i + 1 == n_bands;
            let in_band = (band.start * stride).min(height)..if is_last {
                height
            } else {
                (band.end * stride).min(height)
            };
            // The rows that either side needs, so that the gradient is packed once.
            let mut rows = signed(band.start)..signed(band.end);
            let mut padding = RowPadding { left: 0, width: conv.output.width };
            if to_input.is_some() {
                let read = transposed.rows(&in_band);
                if !read.is_empty() {
                    rows = rows.start.min(read.start)..rows.end.max(read.end);
                }
                padding = RowPadding { left: transposed.left, width: transposed.packed_width };
            }
            // SAFETY: the rows cover both bands; weights and taps were packed for this shape.
            unsafe {
                let grad = pack::<S, _>(&grad, &conv.output, block, rows, padding, grad_window);
                if let Some(to) = &mut to_input {
                    let row = conv.input.row();
                    let start = if to.is_added { Start::Stored } else { Start::Zero };
                    let out = &mut to.out[in_band.start * row..in_band.end * row];
                    let weights = &to.weights.weights;
                    let (band, buffers) = (in_band.clone(), (&mut *u, &mut *v));
                    band::band::<S>(transposed, weights, &grad, band, start, buffers, out);
                    if let Some((pass, x, mean)) = to.finish {
                        let start = block * conv.input.block() + in_band.start * row;
                        let sums = &mut sums.finish;
                        let plane = &conv.input;
                        S::call(SumRows { plane, grad: out, x, pass, mean, start, sums });
                    }
                }
                if has_bias || !matches!(weights, Wanted::Nothing) {
                    let rows = forward.rows(&band);
                    let (left, grad_width) = (forward.left, padding.width);
                    let padding = RowPadding { left, width: forward.packed_width };
                    let input =
                        pack::<S, _>(&source, &conv.input, block, rows, padding, input_window);
                    let is_first = i == 0;
                    let pair = Pair { forward, input: &input, grad: &grad, grad_width, is_first };
                    match weights {
                        Wanted::Nothing => {}
                        Wanted::All if conv.is_winograd => {
                            winograd::weight_grad::add::<S>(&pair, &band, (u, v), &mut sums.all);
                        }
                        Wanted::All => pair.add_all::<S>(&conv.taps, &band, &mut sums.all),
                        Wanted::At(at) => pair.add_at::<S>(at, &band, &mut sums.at),
                    }
                    pair.add_bias(&band, &mut sums.bias);
                }
            }
        }
        scratch.put_back();
        sums
    }
}
