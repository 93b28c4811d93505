//! Steps over planes of regions, before these have places in the arena.

use crate::value::{Plane, Region, Value, flush, layout, natural_pitch};
use std::{collections::HashMap, ops::Range};
use taper_kernels::planes::{
    Columns, Conv, Finish, Function, Layout, Origin, Packing, Pairwise, Reduce, Split,
};

/// A weight and the plane that it multiplies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) weight: f32,
    pub(crate) plane: Plane,
    /// Floats from the begin of the plane.
    pub(crate) delta: i32,
    /// Columns to the right.
    pub(crate) shift: i32,
}

/// An output channel of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) bias: f32,
    pub(crate) taps: Vec<Tap>,
    /// Planes that are added.
    pub(crate) addends: Vec<Plane>,
}

/// What a step computes.
#[derive(Debug)]
pub(crate) enum Work {
    Conv {
        layout: Layout,
        columns: Columns,
        channels: Vec<Channel>,
        finish: Finish,
        packing: Packing,
        to: Vec<Plane>,
    },
    Remap {
        layouts: [Layout; 2],
        rows: Vec<Origin>,
        columns: Vec<Origin>,
        fill: f32,
        planes: Vec<[Plane; 2]>,
    },
    Split {
        layouts: [Layout; 2],
        planes: Vec<[Plane; 5]>,
    },
    Pool {
        layouts: [Layout; 2],
        rows: Vec<Range<u32>>,
        columns: Vec<Range<u32>>,
        steps: [usize; 2],
        reduce: Reduce,
        count: usize,
        planes: Vec<[Plane; 2]>,
    },
    Global {
        layout: Layout,
        reduce: Reduce,
        planes: Vec<[Plane; 2]>,
    },
    Map {
        layouts: [Layout; 2],
        function: Function,
        planes: Vec<[Plane; 2]>,
    },
    Pairs {
        op: Pairwise,
        layouts: [Layout; 3],
        planes: Vec<[Plane; 3]>,
    },
    Gather {
        values: [Value; 2],
    },
    Softmax {
        values: [Value; 2],
        /// Elements of a group.
        n: usize,
        /// Elements from one of a group to the next.
        inner: usize,
    },
}

/// A step, with what people want to know of it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) work: Work,
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) nonzeros: usize,
    pub(crate) weights: usize,
    pub(crate) reads: Vec<usize>,
    pub(crate) writes: usize,
}

/// Steps and regions so far.
#[derive(Debug)]
pub(crate) struct Drafts {
    /// Floats of the machine's vectors, widest first.
    lanes: &'static [usize],
    pub(crate) steps: Vec<Draft>,
    pub(crate) regions: Vec<Region>,
    /// Values that have been copied for strided readers: by node, stride and pitch.
    split: HashMap<(usize, [usize; 2], usize), Value>,
}

/// A convolution on a value, as drafts take it: the node that the value is of, for what is shared between its readers.
pub(crate) struct Reader<'a> {
    pub(crate) node: usize,
    pub(crate) value: &'a Value,
    pub(crate) weight: &'a [f32],
    /// `[out, in / groups, rows, columns]`.
    pub(crate) dims: [usize; 4],
    pub(crate) groups: usize,
    pub(crate) stride: [usize; 2],
    /// Pixels above and to the left.
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl<'a> Reader<'a> {
    /// A convolution of single pixels.
    pub(crate) fn pointwise(
        node: usize,
        value: &'a Value,
        weight: &'a [f32],
        n_out: usize,
        groups: usize,
    ) -> Self {
        let dims = [n_out, value.planes.len() / groups.max(1), 1, 1];
        let (stride, padding, dilation) = ([1; 2], [0; 2], [1; 2]);
        Self { node, value, weight, dims, groups, stride, padding, dilation }
    }

    /// Columns of the planes that it multiplies: those of the value, or of a phase of it.
    fn columns(&self) -> usize {
        self.value.layout.columns.div_ceil(self.stride[1])
    }
}

/// Share of weights that are not 0 above which zeros are multiplied, too.
const DENSE: f64 = 0.6;
/// Taps of a column of the kernels from which that pays.
const DENSE_TAPS: usize = 16;

impl Drafts {
    pub(crate) fn new(lanes: &'static [usize]) -> Self {
        Self { lanes, steps: Vec::new(), regions: Vec::new(), split: HashMap::new() }
    }

    /// A new region of this many planes.
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

    pub(crate) fn push(
        &mut self,
        work: Work,
        name: &str,
        dims: &[usize],
        reads: &[&Value],
        to: &Value,
    ) {
        // A value without planes needs no step.
        let Some(first) = to.planes.first() else { return };
        self.steps.push(Draft {
            work,
            name: name.into(),
            dims: dims.to_vec(),
            nonzeros: 0,
            weights: 0,
            reads: reads.iter().flat_map(|value| value.regions()).collect(),
            writes: first.region,
        });
    }

    /// A copy of pixels to planes of another layout or in other places.
    pub(crate) fn remap(
        &mut self,
        from: &Value,
        to: &Value,
        rows: Vec<Origin>,
        columns: Vec<Origin>,
        fill: f32,
        name: &str,
    ) {
        let layouts = [from.layout, to.layout];
        let planes = from.beside(to);
        let dims = [to.planes.len(), to.layout.rows, to.layout.columns];
        self.push(Work::Remap { layouts, rows, columns, fill, planes }, name, &dims, &[from], to);
    }

    /// The value with rows of this pitch, copied if need be.
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

    /// Every `stride`-th pixel of a value, from each of the first ones: planes `[channel][row phase][column phase]`.
    fn split(&mut self, node: usize, value: &Value, stride: [usize; 2], pitch: usize) -> Value {
        if let Some(split) = self.split.get(&(node, stride, pitch)) {
            return split.clone();
        }
        let Layout { rows, columns, .. } = value.layout;
        let sizes = [rows.div_ceil(stride[0]), columns.div_ceil(stride[1])];
        let n_phases = stride[0] * stride[1];
        let dims = [value.planes.len() * n_phases, sizes[0], sizes[1]];
        let to = self.value(dims, pitch);
        if stride == [2, 2] && Split::fits(&value.layout, &to.layout) {
            let (phases, _) = to.planes.as_chunks::<4>();
            let planes = value.planes.iter().zip(phases);
            let planes = planes.map(|(&from, &[a, b, c, d])| [from, a, b, c, d]).collect();
            let layouts = [value.layout, to.layout];
            self.push(Work::Split { layouts, planes }, "stride", &dims, &[value], &to);
        } else {
            let origins = |phase: usize, stride: usize, size: usize, limit: usize| -> Vec<Origin> {
                (0..size)
                    .map(|i| Some(phase + i * stride).filter(|&at| at < limit).map(|at| at as u32))
                    .collect()
            };
            for phase in 0..n_phases {
                let planes = to.planes.iter().skip(phase).step_by(n_phases).copied().collect();
                let part = Value { layout: to.layout, planes };
                let rows = origins(phase / stride[1], stride[0], sizes[0], rows);
                let columns = origins(phase % stride[1], stride[1], sizes[1], columns);
                self.remap(value, &part, rows, columns, 0.0, "stride");
            }
        }
        self.split.insert((node, stride, pitch), to.clone());
        to
    }

    /// Convolutions whose sums are added to each other, to `bias`, and to `addends`, which have the result's shape.
    pub(crate) fn conv(
        &mut self,
        readers: &[Reader<'_>],
        bias: &[f32],
        addends: &[&Value],
        finish: Finish,
        dims: [usize; 3],
        name: &str,
    ) -> Value {
        let [n_out, rows, columns] = dims;
        let mut pitch = natural_pitch(self.lanes, columns);
        for reader in readers {
            pitch = pitch.max(natural_pitch(self.lanes, reader.columns()));
            if reader.stride == [1, 1] {
                pitch = pitch.max(reader.value.layout.pitch);
            }
        }
        for addend in addends {
            pitch = pitch.max(addend.layout.pitch);
        }
        // How far the taps of a row reach beyond it.
        let reach = readers
            .iter()
            .map(|r| {
                let left = r.padding[1] as i64;
                let right = ((r.dims[3] - 1) * r.dilation[1]) as i64 - left;
                let reach = (left.max(right).max(0) as usize).div_ceil(r.stride[1]);
                // Taps farther away see padding alone.
                reach.min(columns.max(r.columns()))
            })
            .max()
            .unwrap_or(0);
        let lanes = layout(self.lanes, rows, columns, pitch).lanes;
        // Rows that fit no tile: pixels are read where they lie, with zeros between the rows.
        let is_flat = reach > 0 && pitch >= lanes && !Conv::shifts_rows(lanes, pitch / lanes);
        if is_flat {
            let widest = readers.iter().map(Reader::columns).fold(columns, usize::max);
            pitch = pitch.max((widest + reach).next_multiple_of(self.lanes[0]));
        }
        let inputs: Vec<Value> = readers
            .iter()
            .map(|reader| match reader.stride {
                [1, 1] => self.with_pitch(reader.value, pitch),
                stride => self.split(reader.node, reader.value, stride, pitch),
            })
            .collect();
        let addends: Vec<Value> = addends.iter().map(|a| self.with_pitch(a, pitch)).collect();
        let to = self.value(dims, pitch);
        let mut channels: Vec<Channel> = (0..n_out)
            .map(|o| Channel { bias: bias[o], taps: Vec::new(), addends: Vec::new() })
            .collect();
        let weights: usize = readers.iter().map(|r| r.weight.len()).sum();
        let nonzeros: usize = readers.iter().flat_map(|r| r.weight).filter(|w| **w != 0.0).count();
        // With few taps for each shift, there is more to do around the products than in them.
        let n_taps: usize = readers.iter().map(|r| r.dims[1] * r.dims[2]).sum();
        let is_dense = nonzeros as f64 > DENSE * weights as f64 && n_taps >= DENSE_TAPS;
        let packing = match is_dense && n_out > 1 && readers.iter().all(|r| r.groups == 1) {
            true => Packing::Shared,
            false => Packing::Own,
        };
        for (reader, input) in readers.iter().zip(&inputs) {
            let [_, each_in, down, across] = reader.dims;
            let per_group = n_out / reader.groups;
            let [sy, sx] = reader.stride;
            let n_phases = sy * sx;
            let Layout { rows: in_rows, columns: in_columns, .. } = input.layout;
            for (o, channel) in channels.iter_mut().enumerate() {
                let group = o / per_group;
                for i in 0..each_in {
                    for ky in 0..down {
                        let y = (ky * reader.dilation[0]) as i64 - reader.padding[0] as i64;
                        let (py, dy) = (y.rem_euclid(sy as i64), y.div_euclid(sy as i64));
                        // Taps that see padding alone.
                        if dy >= in_rows as i64 || dy + rows as i64 <= 0 {
                            continue;
                        }
                        for kx in 0..across {
                            let at = ((o * each_in + i) * down + ky) * across + kx;
                            let weight = flush(reader.weight[at]);
                            let x = (kx * reader.dilation[1]) as i64 - reader.padding[1] as i64;
                            let (px, dx) = (x.rem_euclid(sx as i64), x.div_euclid(sx as i64));
                            let is_skipped = weight == 0.0 && packing == Packing::Own;
                            if is_skipped || dx >= in_columns as i64 || dx + columns as i64 <= 0 {
                                continue;
                            }
                            let phase = (py * sx as i64 + px) as usize;
                            let plane = input.planes[(group * each_in + i) * n_phases + phase];
                            let shift = dx as i32;
                            let moved = if is_flat { shift } else { 0 };
                            let delta = dy as i32 * pitch as i32 + moved;
                            channel.taps.push(Tap { weight, plane, delta, shift });
                        }
                    }
                }
            }
        }
        for addend in &addends {
            for (channel, &plane) in channels.iter_mut().zip(&addend.planes) {
                channel.addends.push(plane);
            }
        }
        self.widen_halos(&channels, &to.layout);
        let reads: Vec<&Value> = inputs.iter().chain(&addends).collect();
        let columns = match is_flat {
            true => Columns::InPlace,
            false => Columns::Shifted(inputs.iter().map(|v| v.layout.columns).max().unwrap_or(0)),
        };
        let work = Work::Conv {
            layout: to.layout,
            columns,
            channels,
            finish,
            packing,
            to: to.planes.clone(),
        };
        let before = self.steps.len();
        self.push(work, name, &dims, &reads, &to);
        if let Some(step) = self.steps.get_mut(before) {
            (step.nonzeros, step.weights) = (nonzeros, weights);
        }
        to
    }

    /// Makes the zeros around the planes that taps read enough for all that a tile reads.
    fn widen_halos(&mut self, channels: &[Channel], to: &Layout) {
        let end = (to.vectors() * to.lanes) as i64;
        let taps = channels.iter().flat_map(|c| &c.taps).map(|tap| (tap.plane, tap.delta));
        let addends = channels.iter().flat_map(|c| &c.addends).map(|&plane| (plane, 0));
        for (plane, delta) in taps.chain(addends) {
            let layout = &mut self.regions[plane.region].layout;
            let delta = i64::from(delta);
            let below = end + delta - (layout.vectors() * layout.lanes) as i64;
            let needed = below.max(-delta).max(0) as usize;
            if needed > layout.halo {
                layout.halo = needed.next_multiple_of(layout.lanes);
            }
        }
    }
}
