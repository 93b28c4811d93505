//! Values of nodes, as planes of regions of the arena.

use std::collections::BTreeSet;
use taper_kernels::planes::Layout;

/// A plane of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    /// Index of the region.
    pub(crate) region: usize,
    /// Index of the plane in the region.
    pub(crate) index: usize,
}

/// The value of a node for one image: planes of one layout, from any regions. The halo of the layout is not used; each
/// region has its own.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) layout: Layout,
    pub(crate) planes: Vec<Plane>,
}

impl Value {
    /// Its planes, paired with the planes of another value.
    pub(crate) fn beside(&self, other: &Self) -> Vec<[Plane; 2]> {
        self.planes.iter().zip(&other.planes).map(|(&own, &other)| [own, other]).collect()
    }

    /// The regions of its planes, in ascending order.
    pub(crate) fn regions(&self) -> Vec<usize> {
        let regions: BTreeSet<usize> = self.planes.iter().map(|plane| plane.region).collect();
        regions.into_iter().collect()
    }
}

/// Consecutive planes, written by one step.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) layout: Layout,
    pub(crate) planes: usize,
    /// Its constant values, if no step writes it.
    pub(crate) constant: Option<Vec<f32>>,
}

/// The memory layout of planes of this size, without halo, with rows of at least `pitch` floats.
pub(crate) fn layout(lanes: &[usize], rows: usize, columns: usize, pitch: usize) -> Layout {
    let pitch = pitch.max(natural_pitch(lanes, columns));
    // The widest vectors that a plane fills.
    let filled = (rows * pitch).next_power_of_two();
    let lanes = lanes.iter().copied().find(|&l| l <= filled).unwrap_or(1);
    Layout { rows, columns, pitch, halo: 0, lanes }
}

/// Smallest pitch of a row in floats: whole vectors, or a power of two.
pub(crate) fn natural_pitch(lanes: &[usize], columns: usize) -> usize {
    let widest = lanes[0];
    match columns >= widest {
        true => columns.next_multiple_of(widest),
        false => columns.next_power_of_two(),
    }
}
