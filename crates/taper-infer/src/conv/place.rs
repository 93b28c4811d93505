//! A convolution whose planes have places in the arena.

use super::{Recipe, Term, taps::Tap};
use crate::value::{Plane, flush};
use taper_kernels::planes::{Output, Outputs, Packing, Source, Spec};

/// A recipe with the places of its planes: gives the output channels to kernels, one at a time.
pub(crate) struct Placed<'a> {
    recipe: &'a Recipe<'a>,
    /// The planes of each term.
    terms: Vec<Vec<u32>>,
    /// The planes of each value that is added.
    addends: Vec<Vec<u32>>,
    to: Vec<u32>,
    arena: usize,
    zero: u32,
}

impl<'a> Placed<'a> {
    /// Planes lie at `at`, in an arena of so many floats; at `zero` is a plane of zeros.
    pub(crate) fn new(
        recipe: &'a Recipe<'a>,
        at: &dyn Fn(Plane) -> u32,
        arena: usize,
        zero: u32,
    ) -> Self {
        let places = |planes: &[Plane]| planes.iter().map(|&plane| at(plane)).collect();
        Self {
            recipe,
            terms: recipe.terms.iter().map(|term| places(&term.input.planes)).collect(),
            addends: recipe.addends.iter().map(|value| places(&value.planes)).collect(),
            to: places(&recipe.to.planes),
            arena,
            zero,
        }
    }

    pub(crate) fn spec(&self) -> Spec<'_> {
        let Recipe { finish, columns, to, .. } = self.recipe;
        let reach = self.recipe.reach();
        let (finish, columns, arena, zero) = (*finish, *columns, self.arena, self.zero);
        Spec { layout: &to.layout, columns, reach, outputs: self, finish, arena, zero }
    }
}

impl Outputs for Placed<'_> {
    fn count(&self) -> usize {
        self.to.len()
    }

    fn output(&self, channel: usize, packing: Packing) -> Output {
        let Recipe { terms, taps, bias, .. } = self.recipe;
        let mut sources = Vec::new();
        for ((term, taps), planes) in terms.iter().zip(taps).zip(&self.terms) {
            term.sources(taps, planes, channel, packing, &mut sources);
        }
        let addends = self.addends.iter().map(|planes| planes[channel]).collect();
        Output { at: self.to[channel], bias: bias[channel], sources, addends }
    }
}

impl Term<'_> {
    /// Adds the sources of an output channel, with weights of 0 if all channels have the same.
    fn sources(
        &self,
        taps: &[Tap],
        planes: &[u32],
        channel: usize,
        packing: Packing,
        sources: &mut Vec<Source>,
    ) {
        let [n_out, each_in, ..] = self.dims;
        let (kernel, n_phases) = (self.kernel(), self.n_phases());
        let first = channel / (n_out / self.groups) * each_in * n_phases;
        let weights = &self.weight[channel * each_in * kernel..][..each_in * kernel];
        let with_zeros = packing == Packing::Shared;
        if with_zeros {
            sources.reserve(each_in * taps.len());
        }
        let channels = planes[first..].chunks(n_phases);
        for (planes, weights) in channels.zip(weights.chunks(kernel.max(1))) {
            for &Tap { at, phase, delta, shift } in taps {
                let weight = flush(weights[at]);
                if with_zeros || weight != 0.0 {
                    sources.push(Source {
                        weight,
                        at: planes[phase].wrapping_add_signed(delta),
                        shift,
                    });
                }
            }
        }
    }
}
