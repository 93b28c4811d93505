//! A convolution with positions of its planes in the arena.

use super::{Recipe, Term, taps::Tap};
use crate::{place::Places, value::Plane};
use taper_kernels::planes::{ConvSpec, Output, Outputs, TapLists, WeightedPixel, flush};

/// A recipe with the positions of its planes. Kernels read the output channels one at a time.
pub(crate) struct Placed<'a> {
    recipe: &'a Recipe<'a>,
    /// The planes of each term.
    terms: Vec<Vec<u32>>,
    /// The planes of each added value.
    addends: Vec<Vec<u32>>,
    to: Vec<u32>,
    arena: usize,
    zero: u32,
}

impl<'a> Placed<'a> {
    pub(crate) fn new(recipe: &'a Recipe<'a>, at: &Places<'_>) -> Self {
        let places = |planes: &[Plane]| planes.iter().map(|&plane| (at.at)(plane)).collect();
        Self {
            recipe,
            terms: recipe.terms.iter().map(|term| places(&term.input.planes)).collect(),
            addends: recipe.addends.iter().map(|value| places(&value.planes)).collect(),
            to: places(&recipe.to.planes),
            arena: at.arena,
            zero: at.zeros,
        }
    }

    pub(crate) fn spec(&self) -> ConvSpec<'_> {
        let Recipe { finish, columns, windows, to, .. } = self.recipe;
        let reach = self.recipe.reach();
        let (finish, columns, arena, zero) = (*finish, *columns, self.arena, self.zero);
        let (layout, windows) = (&to.layout, *windows);
        ConvSpec { layout, columns, reach, outputs: self, finish, windows, arena, zero }
    }
}

impl Outputs for Placed<'_> {
    fn count(&self) -> usize {
        self.to.len()
    }

    fn n_sources(&self, channel: usize) -> usize {
        self.recipe.terms.iter().map(|term| count(term.row(channel)) as usize).sum()
    }

    fn output(&self, channel: usize, lists: TapLists) -> Output {
        let Recipe { terms, taps, bias, .. } = self.recipe;
        let mut sources = Vec::new();
        for ((term, taps), planes) in terms.iter().zip(taps).zip(&self.terms) {
            term.sources(taps, planes, channel, lists, &mut sources);
        }
        let addends = self.addends.iter().map(|planes| planes[channel]).collect();
        // A bias of −0 becomes 0: terms of 0 may be added or skipped, and only with +0 the bits are equal either way.
        let bias = bias[channel] + 0.0;
        Output { at: self.to[channel], bias, sources, addends }
    }
}

/// Weights that are compared with 0 together, because most are 0.
const AT_A_TIME: usize = 16;

impl Term<'_> {
    /// The weights of an output channel, kernel by kernel.
    fn row(&self, channel: usize) -> &[f32] {
        let n = self.dims[1] * self.kernel();
        &self.weight[channel * n..][..n]
    }

    /// Adds the sources of an output channel. Weights of 0 are included if all channels share one list of taps.
    fn sources(
        &self,
        taps: &[Tap],
        planes: &[u32],
        channel: usize,
        lists: TapLists,
        sources: &mut Vec<WeightedPixel>,
    ) {
        let [n_out, each_in, ..] = self.dims;
        // An empty weight can claim any kernel size.
        if self.weight.is_empty() {
            return;
        }
        let (kernel, n_phases) = (self.kernel(), self.n_phases());
        let planes = &planes[channel / (n_out / self.groups) * each_in * n_phases..];
        let with_zeros = lists == TapLists::Shared;
        if with_zeros {
            sources.reserve_exact(each_in * taps.len());
        }
        let n = (AT_A_TIME / kernel).max(1);
        for (planes, weights) in
            planes.chunks(n * n_phases).zip(self.row(channel).chunks(n * kernel))
        {
            if !with_zeros && count(weights) == 0 {
                continue;
            }
            for (planes, weights) in planes.chunks(n_phases).zip(weights.chunks(kernel)) {
                for &Tap { at, phase, delta, shift } in taps {
                    let weight = flush(weights[at]);
                    if with_zeros || weight != 0.0 {
                        let at = planes[phase].wrapping_add_signed(delta);
                        sources.push(WeightedPixel { weight, at, shift });
                    }
                }
            }
        }
    }
}

/// Number of weights other than 0.
fn count(weights: &[f32]) -> u32 {
    weights.iter().map(|&weight| u32::from(weight != 0.0)).sum()
}
