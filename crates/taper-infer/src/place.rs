//! Where planes lie.

use crate::value::{Plane, Value};
use taper_kernels::{Variant, planes::Layout};

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
    /// The places of planes that are read and written together.
    pub(crate) fn each<const N: usize>(&self, planes: Vec<[Plane; N]>) -> Vec<[u32; N]> {
        planes.into_iter().map(|planes| planes.map(self.at)).collect()
    }

    /// Each element of a value in order: where it lies in the arena.
    pub(crate) fn pixels(&self, value: &Value) -> impl Iterator<Item = u32> {
        let Layout { rows, columns, pitch, .. } = value.layout;
        value.planes.iter().map(|&plane| (self.at)(plane)).flat_map(move |first| {
            (0..rows).flat_map(move |y| (0..columns).map(move |x| first + (y * pitch + x) as u32))
        })
    }

    /// Each element of a value with the one of another in the same place.
    pub(crate) fn pixel_pairs(&self, from: &Value, to: &Value) -> Vec<[u32; 2]> {
        self.pixels(from).zip(self.pixels(to)).map(|(from, to)| [from, to]).collect()
    }
}
