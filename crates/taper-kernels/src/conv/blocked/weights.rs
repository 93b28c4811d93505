//! Weights packed for one direction of a convolution.

use super::{
    arena::Turned,
    geometry::{Geometry, KernelTap, Slots, shifts_rows},
    winograd::output::WinogradWeights,
};
use crate::{
    mask::Mask,
    planes::{
        AllWeights, Columns, ConvSpec, Epilogue, Layout, Output, Outputs, PlaneConv, TapLists,
        Tile, WeightedPixel, WindowKind,
    },
    simd::{Ahead, Variant},
    sizes::{product, signed},
};

/// Where the planes of a direction lie, in floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The planes that are read, phase by phase; they begin at 0.
    pub(super) sources: Slots,
    /// The planes that are written.
    pub(super) results: Slots,
    pub(super) first_result: usize,
    /// A plane of zeros.
    pub(super) zero: usize,
    /// Floats in total.
    pub(super) len: usize,
}

impl Places {
    pub(super) fn new(geometry: &Geometry, is_transposed: bool) -> Self {
        let (sources, results) = (geometry.sources(is_transposed), geometry.results(is_transposed));
        let phases = geometry.n_phases();
        let (inp, out) = (geometry.shape.channels_in, geometry.shape.channels_out);
        let (n_sources, n_results) =
            if is_transposed { (out, phases * inp) } else { (phases * inp, out) };
        let first_result = product([n_sources, sources.len]);
        let zero = first_result + product([n_results, results.len]);
        // A kernel reads a whole plane of zeros.
        let len = zero + results.len.max(crate::lanes::LANES);
        // Kernels store places in bytes.
        assert!(
            len < 1 << 29,
            "an image has {len} floats, zeros around planes included; a convolution must have below 2²⁹ floats"
        );
        Self { sources, results, first_result, zero, len }
    }

    /// Where a plane that is read begins.
    pub(super) fn source(&self, plane: usize) -> usize {
        plane * self.sources.len + self.sources.above
    }

    /// Where a plane that is written begins.
    pub(super) fn result(&self, plane: usize) -> usize {
        self.first_result + plane * self.results.len
    }
}

/// A weight of a destination plane.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The source channel.
    channel: u32,
    position: u32,
    weight: f32,
}

/// The planes of a direction, and those of the phase that is written.
#[derive(Clone, Copy)]
struct Planes<'a> {
    geometry: &'a Geometry,
    places: &'a Places,
    is_transposed: bool,
    /// The first plane of the phase, and its number of planes.
    first: usize,
    n: usize,
}

impl Planes<'_> {
    /// The pixel that a weight multiplies.
    fn source(&self, channel: usize, position: usize, weight: f32) -> WeightedPixel {
        let (geometry, grid) = (self.geometry, self.geometry.grid);
        let tap = geometry.taps[position].as_ref().expect("a tap that reads pixels");
        let (phase, sign) = if self.is_transposed { (0, -1) } else { (tap.phase, 1) };
        let (row, col) = (sign * tap.row, sign * tap.col);
        let begin = self.places.source(phase * geometry.shape.channels_in + channel);
        let at = signed(begin) + row * signed(grid.pitch);
        let (at, shift) = match grid.is_shifted {
            true => (at, col as i32),
            false => (at + col * signed(grid.step), 0),
        };
        WeightedPixel { weight, at: at as u32, shift }
    }

    /// An output channel of the phase with its sources.
    fn output(&self, channel: usize, sources: Vec<WeightedPixel>) -> Output {
        let at = self.at(channel);
        Output { at, bias: 0.0, sources, addends: Vec::new() }
    }

    fn at(&self, channel: usize) -> u32 {
        self.places.result(self.first + channel) as u32
    }
}

/// Which weights are packed.
#[derive(Clone, Copy)]
pub(super) enum Listed<'a> {
    All,
    NotZero,
    Kept(&'a Mask),
}

/// The weights of each plane that is written, phase by phase.
struct Lists {
    starts: Vec<u32>,
    entries: Vec<Entry>,
}

impl Lists {
    fn new(geometry: &Geometry, is_transposed: bool, weight: &[f32], listed: Listed) -> Self {
        let (inp, out) = (geometry.shape.channels_in, geometry.shape.channels_out);
        let n = if is_transposed { geometry.n_phases() * inp } else { out };
        let mut starts = vec![0u32; n + 1];
        let mut found = Vec::new();
        let mut add = |index: usize| {
            let (o, i, position) = geometry.channels(index);
            let Some(tap) = &geometry.taps[position] else { return };
            let (plane, channel) = if is_transposed { (tap.phase * inp + i, o) } else { (o, i) };
            starts[plane + 1] += 1;
            let (channel, position) = (channel as u32, position as u32);
            found.push((plane, Entry { channel, position, weight: weight[index] }));
        };
        match listed {
            Listed::All => (0..weight.len()).for_each(&mut add),
            Listed::NotZero => Mask::above(weight, 0.0).kept().for_each(&mut add),
            Listed::Kept(mask) => mask.kept().for_each(&mut add),
        }
        for plane in 0..n {
            starts[plane + 1] += starts[plane];
        }
        let mut next = starts.clone();
        let mut entries = vec![Entry { channel: 0, position: 0, weight: 0.0 }; found.len()];
        for (plane, entry) in found {
            let at = &mut next[plane];
            entries[*at as usize] = entry;
            *at += 1;
        }
        Self { starts, entries }
    }

    fn entries(&self, plane: usize) -> &[Entry] {
        &self.entries[self.starts[plane] as usize..self.starts[plane + 1] as usize]
    }
}

/// The planes of a phase with lists of weights.
struct PhaseLists<'a> {
    planes: Planes<'a>,
    lists: &'a Lists,
}

impl Outputs for PhaseLists<'_> {
    fn count(&self) -> usize {
        self.planes.n
    }

    fn output(&self, channel: usize, _: TapLists) -> Output {
        let entries = self.lists.entries(self.planes.first + channel).iter();
        let source = |entry: &Entry| {
            self.planes.source(entry.channel as usize, entry.position as usize, entry.weight)
        };
        self.planes.output(channel, entries.map(source).collect())
    }

    fn n_sources(&self, channel: usize) -> usize {
        self.lists.entries(self.planes.first + channel).len()
    }
}

/// The planes of a phase of a convolution of one group, with all of their weights.
struct Mixed<'a> {
    planes: Planes<'a>,
    /// Positions of the kernel that write the phase.
    positions: Vec<usize>,
    weight: &'a [f32],
}

impl<'a> Mixed<'a> {
    fn new(planes: Planes<'a>, phase: usize, weight: &'a [f32]) -> Self {
        let taps = planes.geometry.taps.iter().enumerate();
        let writes = |tap: &KernelTap| !planes.is_transposed || tap.phase == phase;
        let positions = taps.filter(|(_, tap)| tap.as_ref().is_some_and(writes));
        Self { planes, positions: positions.map(|(position, _)| position).collect(), weight }
    }

    /// The distance to the weights of the next source, and to those of the next output channel.
    fn steps(&self) -> [usize; 2] {
        let (inp, len) = (self.planes.geometry.shape.channels_in, self.planes.geometry.taps.len());
        if self.planes.is_transposed { [inp * len, len] } else { [len, inp * len] }
    }

    /// Number of channels that are read.
    fn channels(&self) -> usize {
        let shape = &self.planes.geometry.shape;
        if self.planes.is_transposed { shape.channels_out } else { shape.channels_in }
    }
}

impl Outputs for Mixed<'_> {
    fn count(&self) -> usize {
        self.planes.n
    }

    fn output(&self, channel: usize, _: TapLists) -> Output {
        let [from_source, from_channel] = self.steps();
        let sources = (0..self.channels()).flat_map(|source| {
            self.positions.iter().map(move |&position| {
                let index = source * from_source + channel * from_channel + position;
                self.planes.source(source, position, self.weight[index])
            })
        });
        self.planes.output(channel, sources.collect())
    }

    fn n_sources(&self, _: usize) -> usize {
        self.channels() * self.positions.len()
    }
}

impl AllWeights for Mixed<'_> {
    fn at(&self, channel: usize) -> u32 {
        self.planes.at(channel)
    }

    fn weights(&self) -> &[f32] {
        self.weight
    }

    fn indices(&self) -> (Vec<usize>, usize) {
        let [from_source, from_channel] = self.steps();
        let of_source =
            |source: usize| self.positions.iter().map(move |p| source * from_source + p);
        ((0..self.channels()).flat_map(of_source).collect(), from_channel)
    }
}

/// Weights for every phase that is written.
#[derive(Debug)]
pub(super) struct Kernels {
    pub(super) places: Places,
    convs: Vec<PlaneConv>,
    /// Used instead of `convs`.
    winograd: Option<WinogradWeights>,
    variant: Variant,
}

/// Maximum bytes of pixels that a tile of a sparse convolution should read: about a first-level cache.
const TILE_BYTES: usize = 32 << 10;

impl Kernels {
    /// Packs the weights that are listed.
    pub(super) fn new(
        variant: Variant,
        geometry: &Geometry,
        is_transposed: bool,
        weight: &[f32],
        listed: Listed,
    ) -> Self {
        let places = Places::new(geometry, is_transposed);
        let phases = if is_transposed { geometry.n_phases() } else { 1 };
        let shape = &geometry.shape;
        let n = if is_transposed { shape.channels_in } else { shape.channels_out };
        // With groups, channels read different planes.
        let is_mixing = matches!(listed, Listed::All) && shape.groups == 1;
        let lists = match is_mixing {
            true => None,
            false => Some(Lists::new(geometry, is_transposed, weight, listed)),
        };
        let mut convs = Vec::new();
        for phase in 0..phases {
            let size = if is_transposed { geometry.phase(phase) } else { geometry.out };
            if n == 0 || size.0 == 0 || size.1 == 0 {
                continue;
            }
            let planes = Planes { geometry, places: &places, is_transposed, first: phase * n, n };
            convs.push(match &lists {
                Some(lists) => {
                    let lists = PhaseLists { planes, lists };
                    conv(variant, planes, size, &lists, None)
                }
                None => {
                    let mixed = Mixed::new(planes, phase, weight);
                    conv(variant, planes, size, &mixed, Some(&mixed))
                }
            });
        }
        Self { places, convs, winograd: None, variant }
    }

    /// Packs all weights for Winograd's minimal filtering.
    pub(super) fn filtering(
        variant: Variant,
        geometry: &Geometry,
        is_transposed: bool,
        weight: &[f32],
    ) -> Self {
        let places = Places::new(geometry, is_transposed);
        let winograd = Some(WinogradWeights::new(variant, geometry, is_transposed, weight));
        Self { places, convs: Vec::new(), winograd, variant }
    }

    /// The best number of units to compute together.
    pub(super) fn units(&self) -> usize {
        self.winograd.as_ref().map_or(1, WinogradWeights::images)
    }

    /// Computes all planes that are written, for units of `unit` floats each.
    ///
    /// # Panics
    /// If a unit is smaller than [`Places::len`].
    pub(super) fn run(
        &self,
        arena: &mut [f32],
        unit: usize,
        memory: &mut Turned,
        ahead: &mut Ahead,
    ) {
        if let Some(winograd) = &self.winograd {
            let results = (self.places.first_result, self.places.results);
            winograd.run(self.variant, arena, unit, self.places.sources, results, memory);
        }
        for arena in arena.chunks_mut(unit) {
            for conv in &self.convs {
                conv.run_ahead(arena, 0..conv.n_blocks(), ahead);
            }
        }
    }

    /// Number of steps of [`run`](Self::run) per unit that prefetch memory.
    pub(super) fn steps(&self) -> usize {
        self.convs.iter().map(PlaneConv::steps).sum()
    }
}

/// Packs the planes of a phase of size `(rows, columns)`. With `mixed`, all channels read the same pixels.
fn conv(
    variant: Variant,
    planes: Planes,
    (rows, columns): (usize, usize),
    outputs: &dyn Outputs,
    mixed: Option<&Mixed>,
) -> PlaneConv {
    let Planes { geometry, places, is_transposed, .. } = planes;
    let (grid, lanes) = (geometry.grid, variant.lanes()[0]);
    let body = places.results.body;
    // Zeros between rows stay zero if nothing is shifted, so the whole plane is one row.
    let layout = match geometry.is_pointwise() {
        true => Layout { rows: 1, columns: body, pitch: body, halo: 0, lanes },
        false => {
            let columns = columns * grid.step;
            Layout { rows, columns, pitch: grid.pitch, halo: 0, lanes }
        }
    };
    let most = geometry.out.1.max(geometry.phase(0).1);
    assert!(!grid.is_shifted || shifts_rows(grid.pitch, lanes), "{grid:?}");
    let spec = ConvSpec {
        layout: &layout,
        columns: if grid.is_shifted { Columns::Shifted(most) } else { Columns::InPlace },
        reach: geometry.shifts(is_transposed),
        outputs,
        finish: Epilogue::None,
        windows: WindowKind::Any,
        arena: places.len,
        zero: places.zero as u32,
    };
    let tapped = if mixed.is_some() { TapLists::Shared } else { TapLists::Own };
    let choices = Tile::choices(&spec, tapped);
    // For some numbers of vectors per row, no tile has shared weights.
    let choices = match choices.is_empty() {
        true => Tile::choices(&spec, TapLists::Own),
        false => choices,
    };
    let (inp, out) = (geometry.shape.channels_in, geometry.shape.channels_out);
    let n_sources = if is_transposed { out } else { inp * geometry.n_phases() };
    let around = geometry.taps.iter().flatten().map(|tap| tap.row.unsigned_abs()).max();
    let around = 2 * around.unwrap_or(0) * grid.pitch;
    let fits = |tile: &&Tile| {
        let read = (tile.vectors * lanes + around) * n_sources * size_of::<f32>();
        tile.vectors <= 8 || read <= TILE_BYTES
    };
    let tile = choices.iter().find(fits).or(choices.first());
    let tile = *tile.unwrap_or_else(|| panic!("no tile for {layout:?} of {:?}", geometry.shape));
    match mixed {
        Some(mixed) if tile.lists == TapLists::Shared => {
            PlaneConv::shared(variant, &spec, tile, mixed)
        }
        _ => PlaneConv::new(variant, &spec, tile),
    }
}
