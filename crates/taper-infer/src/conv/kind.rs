//! The kinds of kernels for a convolution, and the properties that decide its time.

use super::{Recipe, Term};
use taper_kernels::planes::{Columns, Dots, Layout, WindowKind};

/// A kind of kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Each output channel has its own list of the pixels that it reads.
    Sparse,
    /// All output channels have a weight for each pixel.
    Dense,
    /// Dense, with output channels in the SIMD lanes.
    Dots,
    /// Windows on one channel each.
    Depthwise,
}

/// Fraction of non-zero weights above which zeros are multiplied, too.
const DENSE: f64 = 0.6;
/// Number of taps per kernel column (input channels times kernel rows) from which dense kernels are used.
const DENSE_TAPS: usize = 16;
/// From this number of taps on, only dense kernels are tried if there are no zeros.
const MANY_TAPS: usize = 64;

/// The properties of a convolution that decide its time. Convolutions of equal shape share a choice of kernel.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// The kinds of kernels that give the same bits.
    kinds: Vec<Kind>,
    layout: Layout,
    columns: Columns,
    reach: [usize; 2],
    terms: Vec<([usize; 4], usize, [usize; 2])>,
    n_addends: usize,
    windows: WindowKind,
    /// Number of non-zero weights: how many binary digits it has, and the leading digits.
    nonzeros: (u32, usize),
}

/// Leading binary digits that are compared. Numbers with equal digits differ by at most 3 to 6 %, and take about equal
/// time.
const LEADING: u32 = 5;

impl Recipe<'_> {
    /// The kinds of kernels that are worth timing; the first is the choice of the rule. All of them give the same bits.
    /// If there are zeros, a kind that multiplies them is the only one, because pixels may be infinite.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let [nonzeros, weights] = self.counts;
        let is_zero_free = nonzeros == weights;
        let is_above = |density: f64| nonzeros as f64 > density * weights as f64;
        let is_one_group = self.terms.iter().all(|term| term.groups == 1);
        // With few taps per shift, the work around the products dominates.
        let n_taps: usize = self.terms.iter().map(|term| term.dims[1] * term.dims[2]).sum();
        let (sparse, dense) =
            (Kind::Sparse, if self.is_small() { Kind::Dots } else { Kind::Dense });
        if self.windows != WindowKind::Any {
            return vec![Kind::Depthwise];
        }
        match self.is_depthwise() {
            true if is_zero_free => return vec![Kind::Depthwise, sparse],
            true if is_above(DENSE) => return vec![Kind::Depthwise],
            _ if !is_one_group || self.to.planes.len() < 2 => return vec![sparse],
            _ => {}
        }
        match (is_above(DENSE) && n_taps >= DENSE_TAPS, is_zero_free) {
            (true, true) if n_taps < MANY_TAPS => vec![dense, sparse],
            (true, _) => vec![dense],
            (false, true) => vec![sparse, dense],
            (false, false) => vec![sparse],
        }
    }

    /// Whether planes have so few pixels that vectors of output channels are faster.
    fn is_small(&self) -> bool {
        Dots::fits(&self.to.layout) && self.reach() == [0, 0] && self.addends.is_empty()
    }

    /// Whether each output channel has a 3×3 window on one input channel.
    fn is_depthwise(&self) -> bool {
        let (Columns::Shifted(_), [term], [taps]) = (self.columns, &self.terms[..], &self.taps[..])
        else {
            return false;
        };
        term.dims == [term.groups, 1, 3, 3] && taps.len() == 9 && self.addends.is_empty()
    }

    /// Approximate number of multiply-adds.
    pub(crate) fn work(&self) -> usize {
        let Layout { rows, pitch, .. } = self.to.layout;
        self.counts[0].saturating_mul(rows * pitch)
    }

    /// The properties that decide its time.
    pub(crate) fn shape(&self) -> Shape {
        let term = |term: &Term<'_>| (term.dims, term.groups, term.stride);
        let [nonzeros, _] = self.counts;
        let digits = usize::BITS - nonzeros.leading_zeros();
        Shape {
            kinds: self.kinds(),
            layout: self.to.layout,
            columns: self.columns,
            reach: self.reach(),
            terms: self.terms.iter().map(term).collect(),
            n_addends: self.addends.len(),
            windows: self.windows,
            nonzeros: (digits, nonzeros >> digits.saturating_sub(LEADING)),
        }
    }
}
