//! The specification of a convolution of planes.

use super::layout::Layout;
use crate::simd::Simd;

/// The function that is applied to the sums of an output channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// `min(max(x, min), max)`; ReLU has an infinite maximum.
    Clip {
        /// The least value.
        min: f32,
        /// The largest value.
        max: f32,
    },
    /// `x` where it is at least 0, else `slope·x`.
    Leaky {
        /// Factor for values below 0.
        slope: f32,
    },
}

impl Epilogue {
    /// `max(x, 0)`.
    pub const RELU: Self = Self::Clip { min: 0.0, max: f32::INFINITY };

    /// Applies it to vectors of sums. If `flushes`, denormal results become 0.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, const N: usize>(
        self,
        flushes: bool,
        values: &mut [S::V; N],
    ) {
        // SAFETY: the caller guarantees the instruction set.
        unsafe {
            match self {
                Self::None => {}
                Self::Clip { min, max } => {
                    let least = S::splat(min);
                    for value in values.iter_mut() {
                        *value = S::at_least(*value, least);
                    }
                    // ReLU has no maximum and needs one instruction less.
                    if max < f32::INFINITY {
                        let most = S::splat(max);
                        for value in values.iter_mut() {
                            *value = S::at_most(*value, most);
                        }
                    }
                }
                Self::Leaky { slope } => {
                    let (zero, slope) = (S::splat(0.0), S::splat(slope));
                    for value in values.iter_mut() {
                        let below = S::mul(S::at_most(*value, zero), slope);
                        *value = S::add(S::at_least(*value, zero), below);
                    }
                }
            }
            if flushes {
                for value in values {
                    *value = S::flush(*value);
                }
            }
        }
    }

    /// Whether denormal results must be flushed, for sums that begin with this bias. A bias of ordinary size does not
    /// need it: its last place is not a denormal number, so a sum is denormal only if other terms cancel the bias to
    /// the last bit.
    pub(super) fn flushes(self, bias: f32) -> bool {
        bias.abs() < 1e-30 || matches!(self, Self::Leaky { .. })
    }
}

/// A weight and the pixels that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedPixel {
    /// The weight.
    pub weight: f32,
    /// The pixel that the weight multiplies for the first output pixel, without the shift: an index into the arena.
    pub at: u32,
    /// Columns from that pixel to the right. Columns beyond an end of a row are 0.
    pub shift: i32,
}

/// An output channel.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Index of its first pixel in the arena.
    pub at: u32,
    /// The start value of its sums.
    pub bias: f32,
    /// Its weights. Weights of equal shift are summed in this order.
    pub sources: Vec<WeightedPixel>,
    /// Where planes begin that are added after the weights without a shift.
    pub addends: Vec<u32>,
}

/// The output channels of a convolution. Each channel is built when it is packed, since sources need several times the
/// memory of weights.
pub trait Outputs {
    /// Number of output channels.
    fn count(&self) -> usize;

    /// An output channel, counted from 0. If `lists` is [`TapLists::Shared`], weights of 0 are among its sources.
    /// Otherwise they may be left out.
    fn output(&self, channel: usize, lists: TapLists) -> Output;

    /// Approximate number of sources of a channel that are not 0. Channels with similar numbers are computed together.
    fn n_sources(&self, channel: usize) -> usize {
        self.output(channel, TapLists::Own).sources.len()
    }
}

/// Channels that have been built already.
impl Outputs for Vec<Output> {
    fn count(&self) -> usize {
        self.len()
    }

    fn output(&self, channel: usize, _: TapLists) -> Output {
        self[channel].clone()
    }
}

/// How a convolution reads pixels in other columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Columns {
    /// Sums are shifted along rows. Planes that are read have at most this many columns, with zeros after them up to
    /// the pitch.
    Shifted(usize),
    /// Nothing is shifted. The place of a source includes its shift, which only decides the order of the sum. Between
    /// rows are as many zeros as the shifts reach.
    InPlace,
}

impl Columns {
    pub(super) fn most(self) -> usize {
        match self {
            Self::Shifted(columns) => columns,
            Self::InPlace => 0,
        }
    }
}

/// Which pixels a block of output channels has weights for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TapLists {
    /// Each output channel has a list of the pixels that it reads.
    Own,
    /// All output channels have a weight for each pixel that one of them reads, in the same order.
    Shared,
}

/// What is known about the windows of a convolution. Only [`Depthwise`](super::Depthwise) accepts other kinds than
/// [`Any`](Self::Any).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Nothing.
    Any,
    /// Each output channel has 3×3 windows around the pixels of one plane. The plane is one vector. The rows above and
    /// below it count as 0, whatever the memory holds there.
    Alone,
    /// Each output channel has 3×3 windows around every second row and column of a plane of this layout. Sources are
    /// those of the first output pixel.
    Strided(Layout),
}

/// A convolution of planes.
#[derive(Clone, Copy)]
pub struct ConvSpec<'a> {
    /// Layout of the results. The pitch is that of the planes that are read.
    pub layout: &'a Layout,
    /// How pixels in other columns are reached.
    pub columns: Columns,
    /// Largest shifts of sources to the left and to the right, in columns.
    pub reach: [usize; 2],
    /// The output channels.
    pub outputs: &'a dyn Outputs,
    /// The function that is applied to the sums.
    pub finish: Epilogue,
    /// What is known about the windows of output channels.
    pub windows: WindowKind,
    /// Length of the arena in floats.
    pub arena: usize,
    /// Where in the arena a plane of zeros begins.
    pub zero: u32,
}

impl ConvSpec<'_> {
    /// Whether sums are shifted along rows.
    pub(super) fn is_shifted(&self) -> bool {
        self.reach != [0, 0] && self.columns != Columns::InPlace
    }
}
