//! Weights packed for one direction of a convolution.

use super::{
    arena::Turned,
    geometry::{Geometry, Slots, shifts_rows},
    winograd::output::WinogradWeights,
};
use crate::{
    mask::Mask,
    planes::{
        Columns, ConvSpec, Epilogue, Layout, Output, Outputs, PlaneConv, TapLists, Tile,
        WeightedPixel, WindowKind,
    },
    simd::{Ahead, Variant},
    sizes::{product, signed},
};

/// Where the planes of a direction lie, in floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The planes that are read, phase by phase; they begin at 0.
    pub(super) sources: Slots,
    /// Those that are written.
    pub(super) results: Slots,
    pub(super) first_result: usize,
    /// A plane of zeros.
    pub(super) zero: usize,
    /// Floats in all.
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
        // Kernels keep places in bytes.
        assert!(
            len < 1 << 29,
            "{len} floats of an image, but a convolution takes below 2²⁹ floats"
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

/// The weights of each destination plane, phase by phase.
struct Lists<'a> {
    geometry: &'a Geometry,
    places: &'a Places,
    is_transposed: bool,
    /// The planes that these are of.
    first: usize,
    n: usize,
    starts: Vec<u32>,
    entries: Vec<Entry>,
}

impl<'a> Lists<'a> {
    /// Of all weights, or of those that are not zero.
    fn new(
        geometry: &'a Geometry,
        places: &'a Places,
        is_transposed: bool,
        weight: &[f32],
        has_zeros: bool,
    ) -> Self {
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
        match has_zeros {
            true => (0..weight.len()).for_each(&mut add),
            false => Mask::above(weight, 0.0).kept().for_each(&mut add),
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
        Self { geometry, places, is_transposed, first: 0, n, starts, entries }
    }

    fn entries(&self, plane: usize) -> &[Entry] {
        &self.entries[self.starts[plane] as usize..self.starts[plane + 1] as usize]
    }
}

impl Outputs for Lists<'_> {
    fn count(&self) -> usize {
        self.n
    }

    fn output(&self, channel: usize, _: TapLists) -> Output {
        let Self { geometry, places, is_transposed, .. } = *self;
        let (grid, inp) = (geometry.grid, geometry.shape.channels_in);
        let plane = self.first + channel;
        let source = |entry: &Entry| {
            let tap = geometry.taps[entry.position as usize].as_ref().expect("a tap that sees");
            let (phase, sign) = if is_transposed { (0, -1) } else { (tap.phase, 1) };
            let (row, col) = (sign * tap.row, sign * tap.col);
            let begin = signed(places.source(phase * inp + entry.channel as usize));
            let at = begin + row * signed(grid.pitch);
            let (at, shift) = match grid.is_shifted {
                true => (at, col as i32),
                false => (at + col * signed(grid.step), 0),
            };
            WeightedPixel { weight: entry.weight, at: at as u32, shift }
        };
        Output {
            at: places.result(plane) as u32,
            bias: 0.0,
            sources: self.entries(plane).iter().map(source).collect(),
            addends: Vec::new(),
        }
    }

    fn n_sources(&self, channel: usize) -> usize {
        self.entries(self.first + channel).len()
    }
}

/// Weights for every phase that is written.
#[derive(Debug)]
pub(super) struct Kernels {
    pub(super) places: Places,
    convs: Vec<PlaneConv>,
    /// Instead of those.
    winograd: Option<WinogradWeights>,
    variant: Variant,
}

/// Bytes of pixels that a tile of a sparse convolution should read at most: about a first-level cache.
const TILE_BYTES: usize = 32 << 10;

impl Kernels {
    /// Packs all weights, or those that are not zero.
    pub(super) fn new(
        variant: Variant,
        geometry: &Geometry,
        is_transposed: bool,
        weight: &[f32],
        is_dense: bool,
    ) -> Self {
        let places = Places::new(geometry, is_transposed);
        let mut lists = Lists::new(geometry, &places, is_transposed, weight, is_dense);
        let phases = if is_transposed { geometry.n_phases() } else { 1 };
        let channels = lists.n / phases;
        let mut convs = Vec::new();
        for phase in 0..phases {
            (lists.first, lists.n) = (phase * channels, channels);
            let size = if is_transposed { geometry.phase(phase) } else { geometry.out };
            if channels > 0 && size.0 > 0 && size.1 > 0 {
                convs.push(conv(variant, geometry, &lists, size, is_dense));
            }
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

    /// Units that are computed together, best.
    pub(super) fn units(&self) -> usize {
        self.winograd.as_ref().map_or(1, WinogradWeights::images)
    }

    /// Computes all planes that are written, in some units of so many floats each.
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

    /// How often [`run`](Self::run) asks for memory.
    pub(super) fn steps(&self) -> usize {
        self.convs.iter().map(PlaneConv::steps).sum()
    }
}

fn conv(
    variant: Variant,
    geometry: &Geometry,
    lists: &Lists,
    (rows, columns): (usize, usize),
    is_dense: bool,
) -> PlaneConv {
    let (grid, lanes) = (geometry.grid, variant.lanes()[0]);
    let body = lists.places.results.body;
    // Zeros between rows stay zero where nothing is shifted: a plane is one row.
    let layout = match geometry.is_pointwise() {
        true => Layout { rows: 1, columns: body, pitch: body, halo: 0, lanes },
        false => {
            let columns = columns * grid.step;
            Layout { rows, columns, pitch: grid.pitch, halo: 0, lanes }
        }
    };
    let (is_transposed, places) = (lists.is_transposed, lists.places);
    let most = geometry.out.1.max(geometry.phase(0).1);
    assert!(!grid.is_shifted || shifts_rows(grid.pitch, lanes), "{grid:?}");
    let spec = ConvSpec {
        layout: &layout,
        columns: if grid.is_shifted { Columns::Shifted(most) } else { Columns::InPlace },
        reach: geometry.shifts(is_transposed),
        outputs: lists,
        finish: Epilogue::None,
        windows: WindowKind::Any,
        arena: places.len,
        zero: places.zero as u32,
    };
    // Channels of groups read different planes.
    let shares = is_dense && geometry.shape.groups == 1;
    let tapped = if shares { TapLists::Shared } else { TapLists::Own };
    let choices = Tile::choices(&spec, tapped);
    // Rows of odd numbers of vectors have no tile whose weights are shared.
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
    let tile = tile.unwrap_or_else(|| panic!("no tile for {layout:?} of {:?}", geometry.shape));
    PlaneConv::new(variant, &spec, *tile)
}
