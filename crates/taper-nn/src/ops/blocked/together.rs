//! Sums the gradients of weights over all ranks during the backward pass.
//!
//! A gradient is summed by a reduce-scatter and an all-gather: each rank sums one chunk of it. Meanwhile the backward
//! pass computes the gradients of the next layers.

use super::rank_share::RankShare;
use candle_core::{Error, Result};
use std::{collections::VecDeque, ops::Range, sync::Arc};
use taper_distributed::Exchange;
use taper_kernels::{
    conv::blocked::{WeightRest, WeightRoot, WeightSums},
    lanes::LANES,
    mask::Mask,
    tree,
};

/// Exchanges per gradient.
pub(super) const EXCHANGES: usize = 2;

/// Largest number of open exchanges. With more, the oldest must end.
const AHEAD: usize = 2;

/// The gradients of weights that are being summed.
pub(super) struct Together<'a> {
    share: &'a RankShare,
    exchange: &'a mut dyn Exchange,
    underway: VecDeque<Stage>,
    done: Vec<Summed>,
}

/// The gradients of a layer's weight and bias over the whole batch.
pub(super) struct Summed {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// The numbers that an exchange receives.
enum Stage {
    /// The sums of all ranks for the chunk of this rank.
    Sums(Layer),
    /// The chunks of all ranks.
    Chunks(Layer),
}

/// A gradient that is being summed.
struct Layer {
    /// How many numbers there are of each kind: for all weights that are sent, for single positions, and for the bias.
    lens: [usize; 3],
    /// The weights that are sent, if not all are.
    live: Option<Arc<Mask>>,
    /// Which blocks of the batch contribute to all weights, if not all or none do.
    sampled: Option<Vec<bool>>,
    rest: WeightRest,
}

impl Layer {
    /// Which kinds of sums exist for these blocks.
    fn has(&self, blocks: &Range<usize>) -> [bool; 3] {
        let in_sample = |of: bool| match &self.sampled {
            Some(sampled) => sampled[blocks.clone()].contains(&of),
            None => true,
        };
        [in_sample(true), in_sample(false), true]
    }

    /// How many numbers a subtree over these blocks has in the chunk of `rank`.
    fn n_numbers(&self, blocks: &Range<usize>, rank: usize, size: usize) -> usize {
        let kinds = self.lens.iter().zip(self.has(blocks)).filter(|(_, has)| *has);
        kinds.map(|(&len, _)| chunk(len, rank, size).len()).sum()
    }

    /// How many numbers the chunk of `rank` has in the sum.
    fn n_in_chunk(&self, rank: usize, size: usize) -> usize {
        self.lens.iter().map(|&len| chunk(len, rank, size).len()).sum()
    }

    /// The sum of this rank's chunk, from the numbers of all ranks.
    fn chunk(&self, share: &RankShare, sent: &[Vec<f32>]) -> Vec<f32> {
        let (rank, size) = (share.ranks().rank(), share.ranks().size());
        let mut roots: [Vec<(u32, &[f32])>; 3] = Default::default();
        for (subtrees, sent) in share.subtrees(LANES).zip(sent) {
            let mut rest = &sent[..];
            for (height, blocks) in subtrees {
                for (kind, has) in self.has(&blocks).into_iter().enumerate() {
                    let n = if has { chunk(self.lens[kind], rank, size).len() } else { 0 };
                    let (numbers, after) = rest.split_at(n);
                    roots[kind].push((height, numbers));
                    rest = after;
                }
            }
        }
        let mut sums = vec![0.0; self.n_in_chunk(rank, size)];
        let mut rest = &mut sums[..];
        for (roots, &len) in roots.into_iter().zip(&self.lens) {
            let (sums, after) = rest.split_at_mut(chunk(len, rank, size).len());
            tree::add_roots(sums, roots);
            rest = after;
        }
        sums
    }

    /// The gradients, from the chunks of all ranks.
    fn summed(self, chunks: &[Vec<f32>]) -> Summed {
        let mut kinds = self.lens.map(|len| vec![0.0; len]);
        for (rank, numbers) in chunks.iter().enumerate() {
            let mut rest = &numbers[..];
            for kind in &mut kinds {
                let to = chunk(kind.len(), rank, chunks.len());
                let (numbers, after) = rest.split_at(to.len());
                kind[to].copy_from_slice(numbers);
                rest = after;
            }
        }
        let [all, at, bias] = kinds;
        let all = match &self.live {
            None => all,
            Some(live) => {
                let mut whole = vec![0.0; live.len()];
                live.kept().zip(all).for_each(|(index, sum)| whole[index] = sum);
                whole
            }
        };
        Summed { weight: self.rest.gradient(all, &at), bias }
    }
}

/// The chunk of `rank`, of `len` numbers.
fn chunk(len: usize, rank: usize, size: usize) -> Range<usize> {
    len * rank / size..len * (rank + 1) / size
}

impl<'a> Together<'a> {
    pub(super) fn new(share: &'a RankShare, exchange: &'a mut dyn Exchange) -> Self {
        Self { share, exchange, underway: VecDeque::new(), done: Vec::new() }
    }

    /// Begins to sum a layer's gradients. Gradients of weights outside `live` are 0, or are set to 0 later. `sampled`
    /// has the blocks of the batch that contribute to all weights, if not all or none do.
    pub(super) fn begin(
        &mut self,
        sums: WeightSums,
        live: Option<Arc<Mask>>,
        sampled: Option<Vec<bool>>,
    ) -> Result<()> {
        let (rank, size) = (self.share.ranks().rank(), self.share.ranks().size());
        let WeightSums { roots, rest, has_whole } = sums;
        let live = live.filter(|_| has_whole);
        let mut to = vec![Vec::new(); size];
        let mut n_bias = 0;
        for (_, root) in roots {
            let WeightRoot { all, at, bias } = root;
            let all = match &live {
                Some(live) if !all.is_empty() => live.kept().map(|index| all[index]).collect(),
                _ => all,
            };
            n_bias = bias.len();
            for (rank, to) in to.iter_mut().enumerate() {
                for numbers in [&all, &at, &bias] {
                    to.extend_from_slice(&numbers[chunk(numbers.len(), rank, size)]);
                }
            }
        }
        let n_all = match &live {
            _ if !has_whole => 0,
            Some(live) => live.n_kept() as usize,
            None => rest.n_weights(),
        };
        let lens = [n_all, rest.n_positions(), n_bias];
        let layer = Layer { lens, live, sampled, rest };
        let subtrees = self.share.subtrees(LANES);
        let lens = subtrees
            .map(|of| of.iter().map(|(_, blocks)| layer.n_numbers(blocks, rank, size)).sum());
        let lens = lens.collect();
        self.exchange.begin(to, lens).map_err(Error::wrap)?;
        self.underway.push_back(Stage::Sums(layer));
        // At most as many as a layer begins: with more, an exchange that has just begun would have to end at once.
        for _ in 0..EXCHANGES {
            if self.underway.len() > AHEAD {
                self.advance()?;
            }
        }
        Ok(())
    }

    /// Waits for the oldest exchange, and processes its numbers.
    fn advance(&mut self) -> Result<()> {
        let Some(stage) = self.underway.pop_front() else { return Ok(()) };
        let brought = self.exchange.end().map_err(Error::wrap)?;
        match stage {
            Stage::Sums(layer) => {
                let sums = layer.chunk(self.share, &brought);
                let size = self.share.ranks().size();
                let lens = (0..size).map(|rank| layer.n_in_chunk(rank, size)).collect();
                self.exchange.begin(vec![sums; size], lens).map_err(Error::wrap)?;
                self.underway.push_back(Stage::Chunks(layer));
            }
            Stage::Chunks(layer) => self.done.push(layer.summed(&brought)),
        }
        Ok(())
    }

    /// Waits for all gradients, and returns them in the order in which they began.
    pub(super) fn finish(mut self) -> Result<Vec<Summed>> {
        while !self.underway.is_empty() {
            self.advance()?;
        }
        Ok(self.done)
    }
}
