//! Convolutions, before planes have places in the arena and after.

mod kind;
mod layout;
mod place;
mod taps;

pub(crate) use kind::{Kind, Shape};
pub(crate) use place::Placed;

use crate::{
    draft::{Drafts, Work},
    value::{Value, layout},
};
use std::borrow::Cow;
use taper_kernels::planes::{Columns, Depthwise, Finish, Layout, Windows, flush};
use taps::Tap;

/// The convolution of one value, the weights of which are those of the graph or its own.
#[derive(Debug)]
pub(crate) struct Term<'a> {
    /// The node that the value is of, for what is shared between its readers.
    pub(crate) node: usize,
    pub(crate) input: Value,
    pub(crate) weight: Cow<'a, [f32]>,
    /// `[out, in / groups, rows, columns]`.
    pub(crate) dims: [usize; 4],
    pub(crate) groups: usize,
    pub(crate) stride: [usize; 2],
    /// Pixels above and to the left.
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl<'a> Term<'a> {
    /// A convolution of single pixels.
    pub(crate) fn pointwise(
        node: usize,
        input: Value,
        weight: Cow<'a, [f32]>,
        n_out: usize,
        groups: usize,
    ) -> Self {
        let dims = [n_out, input.planes.len() / groups.max(1), 1, 1];
        let (stride, padding, dilation) = ([1; 2], [0; 2], [1; 2]);
        Self { node, input, weight, dims, groups, stride, padding, dilation }
    }

    /// What is known of the windows of a result.
    fn windows(&self, to: &Layout) -> Windows {
        let from = self.input.layout;
        let is_centred = self.dims == [self.groups, 1, 3, 3]
            && self.groups == self.input.planes.len()
            && [self.padding, self.dilation] == [[1, 1], [1, 1]];
        // Of a single row or column, some weights see padding alone.
        let sees_all = [from.rows, from.columns, to.columns].iter().all(|&n| n > 1);
        let is_alone = from.rows == to.rows && to.vectors() == 1 && sees_all;
        match self.stride {
            [1, 1] if is_centred && is_alone => Windows::Alone,
            [2, 2] if is_centred && Depthwise::strides(&from, to) => Windows::Strided(from),
            _ => Windows::Any,
        }
    }

    /// Whether it multiplies single pixels, not padding.
    fn is_of_pixels(&self) -> bool {
        self.dims[2..] == [1, 1] && self.padding == [0, 0]
    }
}

/// A sum of convolutions as it is packed: no taps yet, which take several times the memory of weights.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// With values in the layout that they are read in: those of strided ones are `[channel][row phase][column phase]`.
    terms: Vec<Term<'a>>,
    /// The taps of a kernel of each.
    taps: Vec<Vec<Tap>>,
    bias: Vec<f32>,
    addends: Vec<Value>,
    finish: Finish,
    columns: Columns,
    windows: Windows,
    to: Value,
    /// Weights that are not 0, and all of them.
    pub(crate) counts: [usize; 2],
}

impl Recipe<'_> {
    /// Columns to the left and to the right that taps are shifted by at most.
    fn reach(&self) -> [usize; 2] {
        let shifts = || self.taps.iter().flatten().map(|tap| tap.shift);
        let [left, right] = [shifts().map(|s| -s).max(), shifts().max()];
        [left, right].map(|reach| reach.unwrap_or(0).max(0) as usize)
    }
}

impl<'a> Drafts<'a> {
    /// Convolutions whose sums are added to each other, to `bias`, and to `addends`, which have the result's shape.
    pub(crate) fn conv(
        &mut self,
        mut terms: Vec<Term<'a>>,
        bias: Vec<f32>,
        addends: &[&Value],
        finish: Finish,
        dims: [usize; 3],
        name: &str,
    ) -> Value {
        let rows = self.rows(&terms, addends, dims);
        let to = layout(self.lanes, dims[1], dims[2], rows.pitch);
        let windows = match &terms[..] {
            [term] if addends.is_empty() && !rows.is_flat => term.windows(&to),
            _ => Windows::Any,
        };
        if let Windows::Strided(_) = windows {
            return self.strided(terms, bias, finish, dims, rows.pitch, name);
        }
        for term in &mut terms {
            term.input = match term.stride {
                [1, 1] => self.with_pitch(&term.input, rows.pitch),
                stride if term.is_of_pixels() => {
                    term.stride = [1, 1];
                    self.every(term.node, &term.input, stride, rows.pitch)
                }
                stride => self.split(term.node, &term.input, stride, rows.pitch),
            };
        }
        let addends: Vec<Value> = addends.iter().map(|a| self.with_pitch(a, rows.pitch)).collect();
        let to = self.value(dims, rows.pitch);
        let most = terms.iter().map(|term| term.input.layout.columns).max().unwrap_or(0);
        let columns = if rows.is_flat { Columns::InPlace } else { Columns::Shifted(most) };
        let taps: Vec<Vec<Tap>> =
            terms.iter().map(|term| taps::of(term, &to.layout, rows.is_flat)).collect();
        // A plane that is one vector is read alone.
        let is_alone = windows == Windows::Alone;
        for (term, taps) in terms.iter().zip(&taps).filter(|_| !is_alone) {
            for tap in taps {
                self.widen_halos(tap.planes(term), tap.delta, &to);
            }
        }
        addends.iter().for_each(|value| self.widen_halos(value.planes.iter(), 0, &to));
        let weights = || terms.iter().flat_map(|term| &*term.weight);
        let counts = [weights().filter(|&&w| flush(w) != 0.0).count(), weights().count()];
        let inputs = terms.iter().map(|term| &term.input).chain(&addends);
        let reads = inputs.flat_map(Value::regions).collect();
        let recipe =
            Recipe { terms, taps, bias, addends, finish, columns, windows, to: to.clone(), counts };
        self.push_reader(Work::Conv(recipe), name, &dims, reads, &to);
        to
    }

    /// A depthwise convolution of every second pixel, from the plane itself: [`split`](Self::split) would copy it first.
    fn strided(
        &mut self,
        mut terms: Vec<Term<'a>>,
        bias: Vec<f32>,
        finish: Finish,
        dims: [usize; 3],
        pitch: usize,
        name: &str,
    ) -> Value {
        let to = self.value(dims, pitch);
        let input = terms[0].input.clone();
        let from = input.layout;
        terms[0].stride = [1, 1];
        let taps = (0..9).map(|at| {
            let (down, right) = (at as i32 / 3 - 1, at as i32 % 3 - 1);
            Tap { at, phase: 0, delta: down * from.pitch as i32, shift: right }
        });
        let taps: Vec<Vec<Tap>> = vec![taps.collect()];
        // From the row below the first one on; the row above it needs as much as the pitch.
        let below = from.pitch + Depthwise::reads(&from, &to.layout);
        self.widen_halo(&input.planes, from.pitch, below);
        let nonzeros = terms[0].weight.iter().filter(|&&w| flush(w) != 0.0).count();
        let counts = [nonzeros, terms[0].weight.len()];
        let (columns, addends) = (Columns::Shifted(from.columns), Vec::new());
        let windows = Windows::Strided(from);
        let reads = input.regions();
        let recipe =
            Recipe { terms, taps, bias, addends, finish, columns, windows, to: to.clone(), counts };
        self.push_reader(Work::Conv(recipe), name, &dims, reads, &to);
        to
    }
}
