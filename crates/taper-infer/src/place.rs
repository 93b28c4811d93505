//! Steps with places for planes.

use crate::{
    choose::Chooser,
    draft::Work,
    step::Step,
    value::{Plane, Value},
};
use taper_kernels::{
    Variant,
    planes::{Gather, Global, Layout, Map, Pairs, Pool, Remap, Softmax, Split},
};

/// Where planes lie, and for what machine.
pub(crate) struct Places<'a> {
    pub(crate) variant: Variant,
    /// The first pixel of a plane, in floats from the begin of an arena.
    pub(crate) at: &'a dyn Fn(Plane) -> u32,
    /// Floats of an arena.
    pub(crate) arena: usize,
    /// Where zeros begin, as many as the largest plane has pixels.
    pub(crate) zeros: u32,
}

impl Places<'_> {
    /// What a step computes, on places.
    pub(crate) fn step(&self, work: Work<'_>, chooser: &mut Chooser) -> Step {
        let (variant, arena) = (self.variant, self.arena);
        match work {
            Work::Conv(recipe) => chooser.kernel(&recipe, self),
            Work::Remap(remap, planes) => Step::Remap(Remap { planes: self.each(planes), ..remap }),
            Work::Split([from, to], planes) => {
                Step::Split(Split::new(variant, from, to, self.each(planes), arena))
            }
            Work::Pool(pool, planes) => Step::Pool(Pool { planes: self.each(planes), ..pool }),
            Work::Global(global, planes) => {
                Step::Global(Global { planes: self.each(planes), ..global })
            }
            Work::Map(map, planes) => Step::Map(Map { planes: self.each(planes), ..map }),
            Work::Pairs(pairs, planes) => Step::Pairs(Pairs { planes: self.each(planes), ..pairs }),
            Work::Gather([from, to]) => {
                Step::Gather(Gather { pixels: self.pixel_pairs(&from, &to) })
            }
            Work::Softmax { values: [from, to], n, inner } => {
                let each = self.pixel_pairs(&from, &to);
                let group = |first: usize| each[first..].iter().step_by(inner).take(n).copied();
                let firsts = (0..each.len()).filter(|i| i / inner % n == 0);
                let groups = firsts.map(|first| group(first).collect()).collect();
                Step::Softmax(Softmax { groups })
            }
        }
    }

    /// The places of planes that are read and written together.
    fn each<const N: usize>(&self, planes: Vec<[Plane; N]>) -> Vec<[u32; N]> {
        planes.into_iter().map(|planes| planes.map(self.at)).collect()
    }

    /// Each element of a value in order: where it lies in the arena.
    pub(crate) fn pixels(&self, value: &Value) -> impl Iterator<Item = u32> {
        let Layout { rows, columns, pitch, .. } = value.layout;
        value.planes.iter().map(|&plane| (self.at)(plane)).flat_map(move |first| {
            (0..rows).flat_map(move |y| (0..columns).map(move |x| first + (y * pitch + x) as u32))
        })
    }

    fn pixel_pairs(&self, from: &Value, to: &Value) -> Vec<[u32; 2]> {
        self.pixels(from).zip(self.pixels(to)).map(|(from, to)| [from, to]).collect()
    }
}
