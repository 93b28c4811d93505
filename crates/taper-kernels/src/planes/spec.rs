//! What a convolution of planes computes, and where.

use super::layout::Layout;
use crate::simd::Simd;

/// What follows the sums of an output channel.
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
        /// Factor below 0.
        slope: f32,
    },
}

impl Epilogue {
    /// `max(x, 0)`.
    pub const RELU: Self = Self::Clip { min: 0.0, max: f32::INFINITY };

    /// Applies it to vectors of sums, of which those that are denormal become 0 if it `flushes`.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, const N: usize>(
        self,
        flushes: bool,
        values: &mut [S::V; N],
    ) {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            match self {
                Self::None => {}
                Self::Clip { min, max } => {
                    let least = S::splat(min);
                    for value in values.iter_mut() {
                        *value = S::at_least(*value, least);
                    }
                    // ReLU has no maximum, and one instruction less.
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

    /// Whether results of sums that begin with this bias are to be flushed. With a bias of ordinary size they need not be:
    /// the last place of such a number is no denormal number, so a sum is denormal only where other terms cancel the bias to
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
    /// Where the pixel lies that the weight multiplies for the first output pixel, without the shift: an index into the
    /// arena.
    pub at: u32,
    /// Columns to the right of that pixel; the columns beyond an end of a row are 0.
    pub shift: i32,
}

/// An output channel.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Index of its first pixel in the arena.
    pub at: u32,
    /// What its sums begin with.
    pub bias: f32,
    /// Its weights, in the order of their sum within a shift.
    pub sources: Vec<WeightedPixel>,
    /// Begins of planes that are added at the end.
    pub addends: Vec<u32>,
}

/// The output channels of a convolution. Each is made when it is packed, as sources take several times the memory of weights.
pub trait Outputs {
    /// How many there are.
    fn count(&self) -> usize;

    /// An output channel, from 0 on. Weights of 0 are among its sources if the lists are [`TapLists::Shared`], and may be
    /// left out otherwise.
    fn output(&self, channel: usize, lists: TapLists) -> Output;

    /// About how many sources of a channel are not 0: channels with as many are computed together.
    fn n_sources(&self, channel: usize) -> usize {
        self.output(channel, TapLists::Own).sources.len()
    }
}

/// Channels that are there.
impl Outputs for Vec<Output> {
    fn count(&self) -> usize {
        self.len()
    }

    fn output(&self, channel: usize, _: TapLists) -> Output {
        self[channel].clone()
    }
}

/// How pixels in other columns are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Columns {
    /// Sums are shifted along rows. Planes that are read have at most so many columns, with zeros behind them up to the pitch.
    Shifted(usize),
    /// Sources lie where their shift says, and rows have as many zeros between them as that reaches.
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

/// What is known of the windows of a convolution. [`Depthwise`](super::Depthwise) alone takes those that are not any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Nothing.
    Any,
    /// Each output channel has windows of three rows and columns around the pixels of one plane, which is a vector. Rows above
    /// and below it are 0, whatever lies there in memory.
    Alone,
    /// Each output channel has windows of three rows and columns around every second row and column of a plane of this layout.
    /// Sources are those of the first output pixel.
    Strided(Layout),
}

/// What a convolution computes, and where.
#[derive(Clone, Copy)]
pub struct ConvSpec<'a> {
    /// Layout of the results. The pitch is that of the planes that are read.
    pub layout: &'a Layout,
    /// How pixels in other columns are reached.
    pub columns: Columns,
    /// Columns to the left and to the right that sources are shifted by at most.
    pub reach: [usize; 2],
    /// The output channels.
    pub outputs: &'a dyn Outputs,
    /// What follows the sums.
    pub finish: Epilogue,
    /// What is known of the windows of output channels.
    pub windows: WindowKind,
    /// Floats of the arena.
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
