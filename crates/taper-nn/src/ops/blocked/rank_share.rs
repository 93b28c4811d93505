//! The part of a batch that each rank computes, and sums over all ranks.

use candle_core::{Error, Result};
use std::ops::Range;
use taper_distributed::Ranks;
use taper_kernels::{
    fused::{GradSums, Moments},
    lanes::LANES,
    tree::{BatchShare, Roots, Summand},
};

/// The images of a batch that each rank computes.
#[derive(Debug)]
pub(crate) struct RankShare {
    ranks: Ranks,
    /// Number of images of the batch.
    of: usize,
    /// The images of each rank.
    images: Vec<Range<usize>>,
}

impl RankShare {
    /// `None` if every rank computes the whole batch.
    pub(super) fn new(ranks: &Ranks, of: usize) -> Option<Self> {
        let images: Option<Vec<_>> =
            (0..ranks.size()).map(|rank| ranks.images_of(rank, of)).collect();
        Some(Self { ranks: ranks.clone(), of, images: images? })
    }

    pub(crate) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Number of images of the batch.
    pub(crate) fn of(&self) -> usize {
        self.of
    }

    /// The images of this rank.
    pub(crate) fn images(&self) -> Range<usize> {
        self.images[self.ranks.rank()].clone()
    }

    /// Number of images of each rank.
    pub(crate) fn counts(&self) -> impl Iterator<Item = usize> {
        self.images.iter().map(Range::len)
    }

    pub(super) fn batch_share(&self) -> BatchShare {
        BatchShare { first: self.images().start, of: self.of }
    }

    /// The subtrees of each rank, for parts of `images` images each: the heights, and the ranges of parts, counted from
    /// the first part of the batch.
    pub(super) fn subtrees(&self, images: usize) -> impl Iterator<Item = Vec<(u32, Range<usize>)>> {
        self.images.iter().map(move |range| {
            let (share, before) =
                (BatchShare { first: range.start, of: self.of }, range.start / images);
            let subtrees = share.subtrees(range.len(), images).into_iter();
            subtrees.map(|(h, parts)| (h, parts.start + before..parts.end + before)).collect()
        })
    }

    /// The sum over all ranks, equal on all ranks; `None` if there is nothing to sum.
    pub(super) fn sum<T: Numbers>(&self, roots: Roots<T>) -> Result<Option<T>> {
        let Roots { images, roots } = roots;
        let mine: Vec<Vec<f64>> = roots.iter().map(|(_, sum)| sum.numbers()).collect();
        let Some(n) = mine.first().map(Vec::len).filter(|&n| n > 0) else {
            return Ok(roots.into_iter().next().map(|(_, sum)| sum));
        };
        let heights: Vec<Vec<u32>> =
            self.subtrees(images).map(|of| of.into_iter().map(|(h, _)| h).collect()).collect();
        let lens: Vec<usize> = heights.iter().map(|heights| heights.len() * n).collect();
        let all = self.ranks.all_gather(&mine.concat(), &lens).map_err(Error::wrap)?;
        let sums = all.chunks_exact(n).map(T::of_numbers);
        Ok(Roots { images, roots: heights.concat().into_iter().zip(sums).collect() }.sum())
    }
}

/// Groups and blocks have the same size.
const _: () = assert!(taper_distributed::GROUP == LANES);

/// A sum that can be sent as numbers.
pub(super) trait Numbers: Summand {
    fn numbers(&self) -> Vec<f64>;

    fn of_numbers(numbers: &[f64]) -> Self;
}

impl Numbers for Vec<Moments> {
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(|m| [m.count, m.mean, m.squares]).collect()
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        let (numbers, _) = numbers.as_chunks();
        numbers.iter().map(|&[count, mean, squares]| Moments { count, mean, squares }).collect()
    }
}

impl Numbers for Vec<GradSums> {
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(|sums| [sums.grad, sums.dot]).collect()
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        let (numbers, _) = numbers.as_chunks();
        numbers.iter().map(|&[grad, dot]| GradSums { grad, dot }).collect()
    }
}
