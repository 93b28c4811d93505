//! Which kinds of kernels suit a convolution, and which convolutions take equally long.

use super::{Recipe, Term};
use taper_kernels::planes::{Columns, Dots, Layout, WindowKind};

/// A kind of kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Each output channel has a list of the pixels that it reads.
    Sparse,
    /// All output channels have a weight for each pixel.
    Dense,
    /// Dense, with output channels in the lanes.
    Dots,
    /// Windows of a channel each.
    Depthwise,
}

/// Share of weights that are not 0 above which zeros are multiplied, too.
const DENSE: f64 = 0.6;
/// Taps of a column of the kernels from which that pays, and from which nothing else does if there are no zeros.
const DENSE_TAPS: usize = 16;
const MANY_TAPS: usize = 64;

/// What a convolution has in common with others that take as long.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Those that give the same bits.
    kinds: Vec<Kind>,
    layout: Layout,
    columns: Columns,
    reach: [usize; 2],
    terms: Vec<([usize; 4], usize, [usize; 2])>,
    n_addends: usize,
    windows: WindowKind,
    /// Weights that are not 0: binary digits of their number, and the leading ones.
    nonzeros: (u32, usize),
}

/// Leading binary digits that counts of layers have in common which take about as long: they differ by 3 to 6 %.
const LEADING: u32 = 5;

impl Recipe<'_> {
    /// The kinds of kernels that are worth timing, with the choice of the rule first. All of them give the same bits: one that
    /// multiplies zeros has no rival if there are zeros, as pixels may be infinite.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let [nonzeros, weights] = self.counts;
        let is_zero_free = nonzeros == weights;
        let is_above = |density: f64| nonzeros as f64 > density * weights as f64;
        let is_one_group = self.terms.iter().all(|term| term.groups == 1);
        // With few taps for each shift, there is more to do around the products than in them.
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

    /// Whether planes have so few pixels that output channels are better in the lanes.
    fn is_small(&self) -> bool {
        Dots::fits(&self.to.layout) && self.reach() == [0, 0] && self.addends.is_empty()
    }

    /// Whether each output channel has a window of one input channel.
    fn is_depthwise(&self) -> bool {
        let (Columns::Shifted(_), [term], [taps]) = (self.columns, &self.terms[..], &self.taps[..])
        else {
            return false;
        };
        term.dims == [term.groups, 1, 3, 3] && taps.len() == 9 && self.addends.is_empty()
    }

    /// Multiply-adds, about.
    pub(crate) fn work(&self) -> usize {
        let Layout { rows, pitch, .. } = self.to.layout;
        self.counts[0].saturating_mul(rows * pitch)
    }

    /// What its kernels take time for.
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
