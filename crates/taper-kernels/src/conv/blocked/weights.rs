//! Weights in the order in which the kernels read them.

use super::gather::{Gather, KernelTap};
use crate::{lanes::LANES, mask::Mask};

/// All weights: for each tile of destination channels, position by position.
#[derive(Clone, Debug)]
pub(super) struct DenseWeights {
    /// Tiles in the order of their channels.
    pub(super) tiles: Vec<ChannelTile>,
    pub(super) phases: Vec<DensePhase>,
}

/// Destination channels of one group that are computed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelTile {
    pub(super) first: usize,
    pub(super) len: usize,
    pub(super) group: usize,
}

/// A phase's weights.
#[derive(Clone, Debug)]
pub(super) struct DensePhase {
    /// Place of each position's pixel, in floats, the same for all channels of the first group.
    pub(super) offsets: Vec<i32>,
    /// The weights of the tile that starts at channel `c` begin at `c·offsets.len()`; channels alternate fastest.
    pub(super) values: Vec<f32>,
}

/// A weight that is not zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Place of its pixel, in floats.
    pub(super) offset: i32,
    pub(super) weight: f32,
}

/// The weights that are not zero, by chunk of source channels and destination channel, in the order of the dense ones.
///
/// A chunk's pixels for a tile stay in the first-level cache while all destination channels read them. Where the weights
/// are few, one chunk has all channels, as sums that are put down and taken up again cost more than that saves.
#[derive(Clone, Debug)]
pub(super) struct SparseWeights {
    pub(super) n_chunks: usize,
    /// Columns of a tile: [`SPARSE_TILE`] where it reads one row, half of that where it reads several.
    pub(super) tile: usize,
    pub(super) phases: Vec<SparsePhase>,
}

/// A phase's weights.
#[derive(Clone, Debug)]
pub(super) struct SparsePhase {
    /// Where the entries of each chunk and channel begin, and at last their number.
    starts: Vec<u32>,
    entries: Vec<Entry>,
    channels: usize,
}

impl SparsePhase {
    pub(super) fn entries(&self, chunk: usize, channel: usize) -> &[Entry] {
        let at = chunk * self.channels + channel;
        &self.entries[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// Bytes of source pixels that a chunk may have.
const CHUNK_BYTES: usize = 24 << 10;
/// Entries that a chunk should have for each destination channel.
const CHUNK_ENTRIES: usize = 12;

/// Columns of the largest tile with sparse weights.
pub(super) const SPARSE_TILE: usize = 16;

/// Sizes of tiles, largest first; the kernels are compiled for each.
pub(super) const TILES: [usize; 4] = [6, 4, 2, 1];

/// The destination channels in tiles.
pub(super) fn tiles(gather: &Gather) -> Vec<ChannelTile> {
    let mut tiles = Vec::new();
    for group in 0..gather.groups {
        let (mut first, end) = (group * gather.group_dst, (group + 1) * gather.group_dst);
        while first < end {
            let len = TILES.into_iter().find(|&len| len <= end - first).unwrap_or(1);
            tiles.push(ChannelTile { first, len, group });
            first += len;
        }
    }
    tiles
}

impl DenseWeights {
    pub(super) fn new(gather: &Gather, weight: &[f32]) -> Self {
        let tiles = tiles(gather);
        let phases = (0..gather.n_phases())
            .map(|phase| {
                let taps = gather.taps(phase);
                let offsets: Vec<i32> = (0..gather.group_src)
                    .flat_map(|channel| taps.iter().map(move |tap| (channel, tap)))
                    .map(|(channel, tap)| gather.offset(tap, channel))
                    .collect();
                let mut values = vec![0.0; gather.dst_channels() * offsets.len()];
                for &ChannelTile { first, len, group } in &tiles {
                    let mut to = values[first * offsets.len()..].iter_mut();
                    for src in 0..gather.group_src {
                        for tap in taps {
                            for (dst, to) in (first % gather.group_dst..).zip(to.by_ref().take(len))
                            {
                                *to = weight[gather.weight(group, dst, src, tap.position)];
                            }
                        }
                    }
                }
                DensePhase { offsets, values }
            })
            .collect();
        Self { tiles, phases }
    }
}

impl SparseWeights {
    pub(super) fn new(gather: &Gather, weight: &[f32]) -> Self {
        // Each position of the kernel takes part in one phase.
        let mut phase_of: Vec<Option<(usize, &KernelTap)>> = vec![None; gather.kernel_len];
        for phase in 0..gather.n_phases() {
            for tap in gather.taps(phase) {
                phase_of[tap.position] = Some((phase, tap));
            }
        }
        let channels = gather.dst_channels();
        let nonzero = Mask::above(weight, 0.0);
        let rows = gather.kernel_len.isqrt().max(1);
        let tile = if rows == 1 { SPARSE_TILE } else { SPARSE_TILE / 2 };
        let (n_chunks, chunk_len) = chunks(gather, (rows, tile), nonzero.n_kept() as usize);
        let mut starts = vec![vec![0u32; n_chunks * channels + 1]; gather.n_phases()];
        let mut found = Vec::new();
        for index in nonzero.kept() {
            let (dst, src, position) = gather.channels(index);
            let Some((phase, tap)) = phase_of[position] else { continue };
            let chunk = (src - dst / gather.group_dst * gather.group_src) / chunk_len;
            let slot = chunk * channels + dst;
            starts[phase][slot + 1] += 1;
            let offset = gather.offset(tap, src);
            found.push((phase, slot, Entry { offset, weight: weight[index] }));
        }
        let mut phases: Vec<SparsePhase> = starts
            .into_iter()
            .map(|mut starts| {
                for i in 1..starts.len() {
                    starts[i] += starts[i - 1];
                }
                let n = starts.last().map_or(0, |&n| n as usize);
                SparsePhase { starts, entries: vec![Entry { offset: 0, weight: 0.0 }; n], channels }
            })
            .collect();
        // Of one slot, in the order of the weight.
        let mut next: Vec<Vec<u32>> = phases.iter().map(|phase| phase.starts.clone()).collect();
        for (phase, slot, entry) in found {
            let at = &mut next[phase][slot];
            phases[phase].entries[*at as usize] = entry;
            *at += 1;
        }
        Self { n_chunks, tile, phases }
    }
}

/// How many chunks the source channels of a group are cut into, and how many channels a chunk has.
fn chunks(gather: &Gather, (rows, tile): (usize, usize), n_nonzero: usize) -> (usize, usize) {
    let columns = tile.min(gather.dst.1.div_ceil(gather.dst_step)) * gather.src_step + 2;
    let channel_bytes = columns * rows * LANES * size_of::<f32>();
    let by_cache = (gather.group_src * channel_bytes).div_ceil(CHUNK_BYTES);
    let by_entries = n_nonzero / (gather.dst_channels().max(1) * CHUNK_ENTRIES);
    let n = by_cache.min(by_entries).clamp(1, gather.group_src.max(1));
    let len = gather.group_src.div_ceil(n).max(1);
    (gather.group_src.div_ceil(len).max(1), len)
}
