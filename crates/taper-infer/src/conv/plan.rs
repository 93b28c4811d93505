//! The steps of a convolution: copies of its inputs, then its kernel.

use super::{
    Recipe, Term,
    taps::{self, Tap},
};
use crate::{
    draft::{Drafts, Work},
    value::{Value, layout},
};
use taper_kernels::planes::{Columns, Depthwise, Epilogue, WindowKind, flush};

impl<'a> Drafts<'a> {
    /// Adds a step for the sum of `terms`, `bias` and `addends`. The addends have the shape of the result.
    pub(crate) fn conv(
        &mut self,
        mut terms: Vec<Term<'a>>,
        bias: Vec<f32>,
        addends: &[&Value],
        finish: Epilogue,
        dims: [usize; 3],
        name: &str,
    ) -> Value {
        let rows = self.rows(&terms, addends, dims);
        let to = layout(self.lanes, dims[1], dims[2], rows.pitch);
        let windows = match &terms[..] {
            [term] if addends.is_empty() && !rows.is_flat => term.windows(&to),
            _ => WindowKind::Any,
        };
        if let WindowKind::Strided(_) = windows {
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
        // A kernel on planes of one vector reads nothing around them.
        let is_alone = windows == WindowKind::Alone;
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

    /// A depthwise convolution with stride 2 that reads the plane directly, without the copy of [`split`](Self::split).
    fn strided(
        &mut self,
        mut terms: Vec<Term<'a>>,
        bias: Vec<f32>,
        finish: Epilogue,
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
        // The lowest taps start one row (a pitch) below the first row, the highest taps one row above it.
        let below = from.pitch + Depthwise::reads(&from, &to.layout);
        self.widen_halo(&input.planes, from.pitch, below);
        let nonzeros = terms[0].weight.iter().filter(|&&w| flush(w) != 0.0).count();
        let counts = [nonzeros, terms[0].weight.len()];
        let (columns, addends) = (Columns::Shifted(from.columns), Vec::new());
        let windows = WindowKind::Strided(from);
        let reads = input.regions();
        let recipe =
            Recipe { terms, taps, bias, addends, finish, columns, windows, to: to.clone(), counts };
        self.push_reader(Work::Conv(recipe), name, &dims, reads, &to);
        to
    }
}
