//! Packs the output channels of a convolution for a tile.

use super::{
    PlaneConv,
    choice::{MASKED, Tile, Units},
};
#[cfg(feature = "training")]
use crate::planes::spec::Outputs;
use crate::{
    Variant,
    planes::{
        layout::expect_inside,
        spec::{Columns, ConvSpec, Output, TapLists, WeightedPixel, WindowKind},
        tile::Tap,
    },
};
#[cfg(feature = "training")]
use rayon::prelude::*;
use std::cmp::Reverse;

impl PlaneConv {
    /// Packs a convolution for a tile of [`Tile::choices`].
    ///
    /// # Panics
    /// If a source or output lies outside of the arena, a shift is outside of the reach, or the tile does not fit.
    pub fn new(variant: Variant, spec: &ConvSpec<'_>, tile: Tile) -> Self {
        pack(variant, spec, tile)
    }
}

/// All weights of output channels that read the same pixels.
#[cfg(feature = "training")]
pub(crate) trait AllWeights: Outputs + Sync {
    /// Where an output channel's first pixel lies in the arena.
    fn at(&self, channel: usize) -> u32;

    /// The weights: one for each output channel and source.
    fn weights(&self) -> &[f32];

    /// Index of the first output channel's weight for each source, in their order; then the distance to the next
    /// channel's weights.
    fn indices(&self) -> (Vec<usize>, usize);
}

#[cfg(feature = "training")]
impl PlaneConv {
    /// Packs all weights for a tile with shared sources: all channels have the sources of the first channel. The result
    /// is that of [`new`](Self::new), in less time.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub(crate) fn shared(
        variant: Variant,
        spec: &ConvSpec<'_>,
        tile: Tile,
        all: &impl AllWeights,
    ) -> Self {
        assert_eq!(tile.lists, TapLists::Shared, "the tile must have shared sources");
        let mut packer = Packer::new(variant, spec, tile);
        let channels = all.count();
        let Output { sources: places, bias, addends, .. } = all.output(0, tile.lists);
        assert!(addends.is_empty(), "shared sources cannot have addends");
        let (mut order, mut starts) = (Vec::new(), Vec::new());
        for &shift in &packer.shifts {
            starts.push(order.len());
            order.extend((0..places.len()).filter(|&i| places[i].shift == shift));
        }
        assert_eq!(order.len(), places.len(), "the shift of a source is outside of the reach");
        let n_blocks = channels.div_ceil(tile.each);
        let at: Vec<u32> = order.iter().map(|&i| packer.check(places[i].at)).collect();
        let conv = &mut packer.conv;
        for block in 0..n_blocks {
            let first = block * at.len();
            conv.bounds.extend(starts.iter().map(|start| bound(first + start)));
            conv.places.extend_from_slice(&at);
            conv.addend_bounds.push(0);
        }
        conv.weights.resize(n_blocks * at.len() * tile.each, 0.0);
        let (firsts, step) = all.indices();
        let firsts: Vec<usize> = order.iter().map(|&i| firsts[i]).collect();
        let blocks = conv.weights.par_chunks_mut((at.len() * tile.each).max(1)).enumerate();
        blocks.for_each(|(block, to)| {
            let (channel, n) = (block * tile.each, tile.each.min(channels - block * tile.each));
            for (to, first) in to.chunks_exact_mut(tile.each).zip(&firsts) {
                let weights = all.weights()[first + channel * step..].iter().step_by(step);
                to[..n].iter_mut().zip(weights).for_each(|(to, weight)| *to = *weight);
            }
        });
        for channel in 0..n_blocks * tile.each {
            let at = (channel < channels).then(|| packer.check(all.at(channel)));
            packer.conv.outputs.push(at.unwrap_or(u32::MAX));
            packer.conv.bias.push(bias);
            packer.conv.flushes |= packer.conv.finish.flushes(bias);
        }
        packer.finish()
    }
}

/// Packs all output channels, a block at a time.
fn pack(variant: Variant, spec: &ConvSpec<'_>, tile: Tile) -> PlaneConv {
    let mut channels: Vec<usize> = (0..spec.outputs.count()).collect();
    let mut packer = Packer::new(variant, spec, tile);
    let output = |&o: &usize| spec.outputs.output(o, tile.lists);
    if tile.each > 1 && tile.lists == TapLists::Own {
        // A block has as many steps as the longest of its lists.
        channels.sort_by_cached_key(|&o| Reverse(spec.outputs.n_sources(o)));
    }
    packer.reserve(channels.chunks(tile.each).map(|block| block[0]));
    for block in channels.chunks(tile.each) {
        packer.block(&block.iter().map(output).collect::<Vec<Output>>());
    }
    packer.finish()
}

/// A convolution with the blocks that have been packed so far.
struct Packer<'a> {
    conv: PlaneConv,
    spec: &'a ConvSpec<'a>,
    /// The shift of each group of taps.
    shifts: Vec<i32>,
    /// Floats from the start of a plane to the end of its last tile.
    end: usize,
}

impl<'a> Packer<'a> {
    fn new(variant: Variant, spec: &'a ConvSpec<'a>, tile: Tile) -> Self {
        let Tile { lists, vectors, each } = tile;
        let (layout, units) = (spec.layout, Units::of(spec));
        assert!(units.fit(tile), "{tile:?} does not fit {layout:?}");
        assert!(spec.windows == WindowKind::Any, "tiles require windows of any kind");
        // Places are stored in bytes.
        assert!(spec.arena <= (u32::MAX / 4) as usize, "the arena is larger than 4 GiB");
        let step = vectors / units.vectors;
        let begin = |tile: usize| (tile * step).min(units.n - step) * units.vectors * layout.lanes;
        let tiles: Vec<usize> = (0..units.n.div_ceil(step)).map(begin).collect();
        let each_tile = |begin: usize| begin..begin + vectors * layout.lanes;
        let bits = |keep: bool| f32::from_bits(if keep { u32::MAX } else { 0 });
        let row = tile.row(spec);
        let in_rows = |keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
            let columns = each_tile(0).map(|i| i % layout.pitch).filter(|_| row == MASKED);
            columns.map(|column| bits(keep(column))).collect()
        };
        let is_pixel =
            |i: usize| i % layout.pitch < layout.columns && i / layout.pitch < layout.rows;
        let [up, down] = spec.reach;
        let conv = PlaneConv {
            variant,
            lanes: layout.lanes,
            vectors,
            each,
            lists,
            row,
            arena: spec.arena,
            finish: spec.finish,
            flushes: false,
            down,
            up,
            in_place: spec.columns == Columns::InPlace,
            tiles: tiles.iter().map(|&begin| begin as u32 * 4).collect(),
            outputs: Vec::new(),
            bias: Vec::new(),
            bounds: Vec::new(),
            taps: Vec::new(),
            places: Vec::new(),
            weights: Vec::new(),
            addend_bounds: Vec::new(),
            not_first: in_rows(&|column| column != 0),
            not_last: in_rows(&|column| column != layout.pitch - 1),
            masks: match layout.is_full() {
                true => Vec::new(),
                false => {
                    tiles.iter().flat_map(|&t| each_tile(t)).map(|i| bits(is_pixel(i))).collect()
                }
            },
        };
        // From the farthest shift on each side: each further column shifts a sum once more.
        let shifts = (0..=down as i32).rev().chain((1..=up as i32).rev().map(|shift| -shift));
        let end = tiles.last().map_or(0, |&begin| each_tile(begin).end);
        let packer = Self { conv, spec, shifts: shifts.collect(), end };
        packer.check(spec.zero);
        packer
    }

    /// Checks that the tiles of a plane lie in the arena. Returns where the plane begins, in bytes.
    fn check(&self, at: u32) -> u32 {
        expect_inside(at, self.end, self.spec.arena);
        at * 4
    }

    fn tap(&self, weight: f32, at: u32) -> Tap {
        Tap { weight, at: self.check(at) }
    }

    /// Reserves memory for blocks; `longest` has the channel with the most sources of each block.
    fn reserve(&mut self, longest: impl Iterator<Item = usize>) {
        let n: usize = longest.map(|channel| self.spec.outputs.n_sources(channel)).sum();
        match self.conv.lists {
            TapLists::Own => self.conv.taps.reserve_exact(n * self.conv.each),
            TapLists::Shared => {
                self.conv.places.reserve_exact(n);
                self.conv.weights.reserve_exact(n * self.conv.each);
            }
        }
    }

    /// Adds a block of channels: as many as a tile has, or fewer.
    fn block(&mut self, block: &[Output]) {
        match self.conv.lists {
            TapLists::Own => self.own(block),
            TapLists::Shared => self.shared(block),
        }
        let missing = self.conv.each - block.len();
        for output in block {
            let at = self.check(output.at);
            self.conv.outputs.push(at);
            self.conv.bias.push(output.bias);
            self.conv.flushes |= self.conv.finish.flushes(output.bias);
        }
        self.conv.outputs.extend(std::iter::repeat_n(u32::MAX, missing));
        self.conv.bias.extend(std::iter::repeat_n(0.0, missing));
    }

    /// Adds the sources of channels that have their own taps.
    fn own(&mut self, block: &[Output]) {
        if let ([output], 1) = (block, self.conv.each) {
            return self.alone(output);
        }
        let mut n = 0;
        for shift in self.shifts.clone() {
            self.conv.bounds.push(bound(self.conv.taps.len()));
            let lists = block.iter().map(|output| {
                let mut taps: Vec<Tap> =
                    sources(output, shift).map(|s| self.tap(s.weight, s.at)).collect();
                n += taps.len();
                if shift == 0 {
                    taps.extend(output.addends.iter().map(|&at| self.tap(1.0, at)));
                }
                taps
            });
            let lists: Vec<Vec<Tap>> = lists.collect();
            self.push_steps(&lists);
        }
        check_reach(block, n);
    }

    /// Adds the sources of a channel that is a whole block.
    fn alone(&mut self, output: &Output) {
        let first = self.conv.taps.len();
        for i in 0..self.shifts.len() {
            let shift = self.shifts[i];
            self.conv.bounds.push(bound(self.conv.taps.len()));
            for source in sources(output, shift) {
                let tap = self.tap(source.weight, source.at);
                self.conv.taps.push(tap);
            }
            if shift == 0 {
                for &at in &output.addends {
                    let tap = self.tap(1.0, at);
                    self.conv.taps.push(tap);
                }
            }
        }
        let n = self.conv.taps.len() - first - output.addends.len();
        check_reach(std::slice::from_ref(output), n);
    }

    /// Adds the sources of channels that share them, and then their addends.
    fn shared(&mut self, block: &[Output]) {
        let mut n = 0;
        for shift in self.shifts.clone() {
            self.conv.bounds.push(bound(self.conv.places.len()));
            let lists = block.iter().map(|output| sources(output, shift).collect());
            let lists: Vec<Vec<&WeightedPixel>> = lists.collect();
            n += lists.iter().map(Vec::len).sum::<usize>();
            let Some((first, others)) = lists.split_first() else { continue };
            let is_same = |other: &Vec<&WeightedPixel>| {
                other.len() == first.len() && other.iter().zip(first).all(|(a, b)| a.at == b.at)
            };
            assert!(others.iter().all(is_same), "channels of a block must have the same sources");
            for (i, source) in first.iter().enumerate() {
                let place = self.check(source.at);
                self.conv.places.push(place);
                let missing = self.conv.each - lists.len();
                self.conv.weights.extend(lists.iter().map(|list| list[i].weight));
                self.conv.weights.extend(std::iter::repeat_n(0.0, missing));
            }
        }
        check_reach(block, n);
        self.conv.addend_bounds.push(bound(self.conv.taps.len()));
        let addends = |output: &Output| {
            output.addends.iter().map(|&at| self.tap(1.0, at)).collect::<Vec<Tap>>()
        };
        let lists: Vec<Vec<Tap>> = block.iter().map(addends).collect();
        self.push_steps(&lists);
    }

    /// Adds lists of taps side by side: the first of each, then the second of each.
    fn push_steps(&mut self, lists: &[Vec<Tap>]) {
        // Fills up shorter lists. A product of −0 changes no sum, not even a sum of −0.
        let none = self.tap(-0.0, self.spec.zero);
        let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
        for i in 0..longest {
            let taps = (0..self.conv.each).map(|o| lists.get(o).and_then(|list| list.get(i)));
            self.conv.taps.extend(taps.map(|tap| tap.copied().unwrap_or(none)));
        }
    }

    fn finish(self) -> PlaneConv {
        let Self { mut conv, .. } = self;
        conv.bounds.push(bound(match conv.lists {
            TapLists::Own => conv.taps.len(),
            TapLists::Shared => conv.places.len(),
        }));
        conv.addend_bounds.push(bound(conv.taps.len()));
        conv.taps.shrink_to_fit();
        conv.places.shrink_to_fit();
        conv.weights.shrink_to_fit();
        conv
    }
}

/// A number of taps, in the type that kernels store.
///
/// # Panics
/// If it is 2³² or more.
fn bound(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("a convolution has {n} taps, which is 2³² or more"))
}

/// The sources of a shift, in order.
fn sources(output: &Output, shift: i32) -> impl Iterator<Item = &WeightedPixel> {
    output.sources.iter().filter(move |source| source.shift == shift)
}

/// Checks that each source of a block is in a group.
fn check_reach(block: &[Output], n: usize) {
    let all: usize = block.iter().map(|output| output.sources.len()).sum();
    assert!(n == all, "the shift of a source is outside of the reach");
}
