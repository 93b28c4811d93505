//! Drafts: steps on planes of regions, before the regions have positions in the arena.

use crate::{
    conv::Recipe,
    value::{Plane, Region, Value, layout},
};
use std::collections::HashMap;
use taper_kernels::planes::{GlobalPool, Layout, Map, Pairs, ParitySplit, Pool, ReadFrom, Remap};

/// The computation of a step. The kernels have empty plane lists, because planes have no positions yet.
#[derive(Debug)]
pub(crate) enum Work<'a> {
    Conv(Recipe<'a>),
    Remap(Remap, Vec<[Plane; 2]>),
    Split([Layout; 2], Vec<[Plane; 5]>),
    Pool(Pool, Vec<[Plane; 2]>),
    Global(GlobalPool, Vec<[Plane; 2]>),
    Map(Map, Vec<[Plane; 2]>),
    Pairs(Pairs, Vec<[Plane; 3]>),
    Gather([Value; 2]),
    Softmax {
        values: [Value; 2],
        /// Elements of a group.
        n: usize,
        /// Distance between consecutive elements of a group, in elements.
        inner: usize,
    },
}

/// A step, with its description for plans.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) work: Work<'a>,
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) reads: Vec<usize>,
    pub(crate) writes: usize,
}

/// Steps and regions so far.
#[derive(Debug)]
pub(crate) struct Drafts<'a> {
    /// Widths of the machine's vectors in floats, widest first.
    pub(crate) lanes: &'static [usize],
    pub(crate) steps: Vec<Draft<'a>>,
    pub(crate) regions: Vec<Region>,
    /// Values split into phases for strided readers, by node, stride and pitch.
    split: HashMap<(usize, [usize; 2], usize), Value>,
    /// Values of which only the first phase was copied, by node, stride and pitch.
    every: HashMap<(usize, [usize; 2], usize), Value>,
}

impl<'a> Drafts<'a> {
    pub(crate) fn new(lanes: &'static [usize]) -> Self {
        Self {
            lanes,
            steps: Vec::new(),
            regions: Vec::new(),
            split: HashMap::new(),
            every: HashMap::new(),
        }
    }

    /// A new region of `planes` planes.
    fn region(&mut self, layout: Layout, planes: usize) -> Value {
        self.regions.push(Region { layout, planes, constant: None });
        let region = self.regions.len() - 1;
        Value { layout, planes: (0..planes).map(|index| Plane { region, index }).collect() }
    }

    /// A new region for a value of this shape.
    pub(crate) fn value(&mut self, dims: [usize; 3], pitch: usize) -> Value {
        let layout = layout(self.lanes, dims[1], dims[2], pitch);
        self.region(layout, dims[0])
    }

    /// Adds a step that reads these values.
    pub(crate) fn push(
        &mut self,
        work: Work<'a>,
        name: &str,
        dims: &[usize],
        reads: &[&Value],
        to: &Value,
    ) {
        let reads = reads.iter().flat_map(|value| value.regions()).collect();
        self.push_reader(work, name, dims, reads, to);
    }

    /// Adds a step that reads these regions.
    pub(crate) fn push_reader(
        &mut self,
        work: Work<'a>,
        name: &str,
        dims: &[usize],
        reads: Vec<usize>,
        to: &Value,
    ) {
        // A value without planes needs no step.
        let Some(first) = to.planes.first() else { return };
        let (name, dims, writes) = (name.into(), dims.to_vec(), first.region);
        self.steps.push(Draft { work, name, dims, reads, writes });
    }

    /// Copies pixels to planes of another layout, or to other rows and columns.
    pub(crate) fn remap(
        &mut self,
        from: &Value,
        to: &Value,
        rows: Vec<ReadFrom>,
        columns: Vec<ReadFrom>,
        fill: f32,
        name: &str,
    ) {
        let (from_layout, to_layout, planes) = (from.layout, to.layout, Vec::new());
        let remap = Remap { from: from_layout, to: to_layout, rows, columns, fill, planes };
        let dims = [to.planes.len(), to_layout.rows, to_layout.columns];
        self.push(Work::Remap(remap, from.beside(to)), name, &dims, &[from], to);
    }

    /// The value with rows of this pitch, copied if necessary.
    pub(crate) fn with_pitch(&mut self, value: &Value, pitch: usize) -> Value {
        if value.layout.pitch == pitch {
            return value.clone();
        }
        let Layout { rows, columns, .. } = value.layout;
        let to = self.value([value.planes.len(), rows, columns], pitch);
        let all = |n: usize| (0..n as u32).map(Some).collect();
        self.remap(value, &to, all(rows), all(columns), 0.0, "layout");
        to
    }

    /// Splits a value into phases: each has every `stride`-th row and column. The planes are
    /// `[channel][row phase][column phase]`.
    pub(crate) fn split(
        &mut self,
        node: usize,
        value: &Value,
        stride: [usize; 2],
        pitch: usize,
    ) -> Value {
        if let Some(split) = self.split.get(&(node, stride, pitch)) {
            return split.clone();
        }
        let n_phases = stride[0] * stride[1];
        let dims = phases(value, stride, n_phases);
        let to = self.value(dims, pitch);
        if stride == [2, 2] && ParitySplit::fits(&value.layout, &to.layout) {
            let (phases, _) = to.planes.as_chunks::<4>();
            let planes = value.planes.iter().zip(phases);
            let planes = planes.map(|(&from, &[a, b, c, d])| [from, a, b, c, d]).collect();
            let layouts = [value.layout, to.layout];
            self.push(Work::Split(layouts, planes), "stride", &dims, &[value], &to);
        } else {
            for phase in 0..n_phases {
                let planes = to.planes.iter().skip(phase).step_by(n_phases).copied().collect();
                let part = Value { layout: to.layout, planes };
                self.phase(value, &part, stride, [phase / stride[1], phase % stride[1]]);
            }
        }
        self.split.insert((node, stride, pitch), to.clone());
        to
    }

    /// The first phase of a value: every `stride`-th row and column from the first on. 1×1 convolutions need no other
    /// phase.
    pub(crate) fn every(
        &mut self,
        node: usize,
        value: &Value,
        stride: [usize; 2],
        pitch: usize,
    ) -> Value {
        let n_phases = stride[0] * stride[1];
        if let Some(Value { layout, planes }) = self.split.get(&(node, stride, pitch)) {
            let planes = planes.iter().step_by(n_phases).copied().collect();
            return Value { layout: *layout, planes };
        }
        if let Some(every) = self.every.get(&(node, stride, pitch)) {
            return every.clone();
        }
        let to = self.value(phases(value, stride, 1), pitch);
        self.phase(value, &to, stride, [0, 0]);
        self.every.insert((node, stride, pitch), to.clone());
        to
    }

    /// Copies every `stride`-th row and column, from `first` on.
    fn phase(&mut self, value: &Value, to: &Value, stride: [usize; 2], first: [usize; 2]) {
        let (from, sizes) = (&value.layout, [to.layout.rows, to.layout.columns]);
        let origins = |axis: usize, limit: usize| -> Vec<ReadFrom> {
            let places = (0..sizes[axis]).map(|i| first[axis] + i * stride[axis]);
            places.map(|at| Some(at).filter(|&at| at < limit).map(|at| at as u32)).collect()
        };
        let (rows, columns) = (origins(0, from.rows), origins(1, from.columns));
        self.remap(value, to, rows, columns, 0.0, "stride");
    }

    /// Widens the zeros around planes for tiles of the result `to` that read from `delta` floats after the start of a
    /// plane.
    pub(crate) fn widen_halos<'p>(
        &mut self,
        planes: impl Iterator<Item = &'p Plane>,
        delta: i32,
        to: &Value,
    ) {
        let (end, delta) = (to.layout.plane_len() as i64, i64::from(delta));
        let [above, below] = [-delta, end + delta].map(|floats| floats.max(0) as usize);
        self.widen_halo(planes, above, below);
    }

    /// Widens the zeros around planes for reads from `above` floats before the start of a plane to `end` floats after
    /// it.
    pub(crate) fn widen_halo<'p>(
        &mut self,
        planes: impl IntoIterator<Item = &'p Plane>,
        above: usize,
        end: usize,
    ) {
        for plane in planes {
            let layout = &mut self.regions[plane.region].layout;
            let below = end.saturating_sub(layout.plane_len());
            let needed = above.max(below);
            if needed > layout.halo {
                layout.halo = needed.next_multiple_of(layout.lanes);
            }
        }
    }
}

/// The shape of `n` phases of each channel of a value.
fn phases(value: &Value, stride: [usize; 2], n: usize) -> [usize; 3] {
    let Layout { rows, columns, .. } = value.layout;
    [value.planes.len() * n, rows.div_ceil(stride[0]), columns.div_ceil(stride[1])]
}
