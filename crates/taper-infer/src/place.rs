//! Positions of planes in the arena.

use crate::value::{Plane, Value};
use taper_kernels::{Variant, planes::Layout};

/// Positions of planes, and the instruction set.
pub(crate) struct Places<'a> {
    pub(crate) variant: Variant,
    /// Position of the first pixel of a plane, in floats from the start of the arena.
    pub(crate) at: &'a dyn Fn(Plane) -> u32,
    /// Floats of an arena.
    pub(crate) arena: usize,
    /// Position of a plane of zeros, with the size of the largest plane.
    pub(crate) zeros: u32,
}

impl Places<'_> {
    /// The positions of planes that are read and written together.
    pub(crate) fn each<const N: usize>(&self, planes: Vec<[Plane; N]>) -> Vec<[u32; N]> {
        planes.into_iter().map(|planes| planes.map(self.at)).collect()
    }

    /// The position in the arena of each element of a value, in order.
    pub(crate) fn pixels(&self, value: &Value) -> impl Iterator<Item = u32> {
        let Layout { rows, columns, pitch, .. } = value.layout;
        value.planes.iter().map(|&plane| (self.at)(plane)).flat_map(move |first| {
            (0..rows).flat_map(move |y| (0..columns).map(move |x| first + (y * pitch + x) as u32))
        })
    }

    /// The positions of corresponding elements of two values.
    pub(crate) fn pixel_pairs(&self, from: &Value, to: &Value) -> Vec<[u32; 2]> {
        self.pixels(from).zip(self.pixels(to)).map(|(from, to)| [from, to]).collect()
    }
}
