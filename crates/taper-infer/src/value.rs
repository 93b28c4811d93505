//! Values of nodes: which planes of which regions of the arena they are.

use std::collections::BTreeSet;
use taper_kernels::planes::Layout;

/// A plane of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    /// Index of the region.
    pub(crate) region: usize,
    /// Which of its planes.
    pub(crate) index: usize,
}

/// The value of a node for one image: planes of one layout, wherever they lie. The layout's halo is that of no region.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) layout: Layout,
    pub(crate) planes: Vec<Plane>,
}

impl Value {
    /// Its planes, each with that of another value.
    pub(crate) fn beside(&self, other: &Self) -> Vec<[Plane; 2]> {
        self.planes.iter().zip(&other.planes).map(|(&own, &other)| [own, other]).collect()
    }

    /// The regions that its planes lie in, ascending.
    pub(crate) fn regions(&self) -> Vec<usize> {
        let regions: BTreeSet<usize> = self.planes.iter().map(|plane| plane.region).collect();
        regions.into_iter().collect()
    }
}

/// Planes that lie one behind the other, written by one step.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) layout: Layout,
    pub(crate) planes: usize,
    /// What it holds from the begin, if no step writes it.
    pub(crate) constant: Option<Vec<f32>>,
}

/// How planes of this size lie in memory, without halo, with rows of at least `pitch` floats.
pub(crate) fn layout(lanes: &[usize], rows: usize, columns: usize, pitch: usize) -> Layout {
    let pitch = pitch.max(natural_pitch(lanes, columns));
    // The widest vectors that a plane fills.
    let filled = (rows * pitch).next_power_of_two();
    let lanes = lanes.iter().copied().find(|&l| l <= filled).unwrap_or(1);
    Layout { rows, columns, pitch, halo: 0, lanes }
}

/// Floats of a row: whole vectors, or a power of two.
pub(crate) fn natural_pitch(lanes: &[usize], columns: usize) -> usize {
    let widest = lanes[0];
    match columns >= widest {
        true => columns.next_multiple_of(widest),
        false => columns.next_power_of_two(),
    }
}
