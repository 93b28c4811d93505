//! The ranks that train together: their number, their images of a batch, and their messages.

use crate::{Communicator, DistributedError, Exchange, Threads};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Images per group. The sums of a group are computed together, on one rank.
pub const GROUP: usize = 16;

/// The largest number of ranks that can share a batch of `images` images, at least 1. Each rank computes at least a
/// group.
pub fn most_ranks(images: usize) -> usize {
    images.div_ceil(GROUP).max(1)
}

/// The ranks that train together, and which of them this is. Clones share the communicator and the counters.
#[derive(Clone, Debug)]
pub struct Ranks {
    communicator: Arc<dyn Communicator>,
    sent: Arc<AtomicU64>,
    waits: Arc<AtomicU64>,
}

impl Default for Ranks {
    /// One rank.
    fn default() -> Self {
        Self::new(Threads::alone())
    }
}

impl Ranks {
    /// The ranks that `communicator` connects.
    pub fn new(communicator: impl Communicator + 'static) -> Self {
        let (sent, waits) = (Arc::default(), Arc::default());
        Self { communicator: Arc::new(communicator), sent, waits }
    }

    /// This rank, counted from 0.
    pub fn rank(&self) -> usize {
        self.communicator.rank()
    }

    /// Number of ranks, at least 1.
    pub fn size(&self) -> usize {
        self.communicator.size()
    }

    /// Whether this is rank 0, which writes files and prints.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Bytes that this rank has sent to other ranks so far; each copy counts.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Number of calls so far that wait for messages of other ranks.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// The images of a batch of `n` images that this rank computes. `None` if there is one rank, or if there are fewer
    /// groups than ranks: every rank then computes all images.
    pub fn images(&self, n: usize) -> Option<Range<usize>> {
        self.images_of(self.rank(), n)
    }

    /// The same for another rank.
    pub fn images_of(&self, rank: usize, n: usize) -> Option<Range<usize>> {
        let (size, groups) = (self.size(), n.div_ceil(GROUP));
        let at = |rank: usize| (rank * groups / size * GROUP).min(n);
        (size > 1 && groups >= size).then(|| at(rank)..at(rank + 1))
    }

    /// Checks that every rank has images in a full batch.
    ///
    /// # Errors
    /// [`DistributedError::TooManyRanks`] if not.
    pub fn expect_images(&self, images: usize) -> Result<(), DistributedError> {
        let (size, most) = (self.size(), most_ranks(images));
        match size > most {
            true => Err(DistributedError::TooManyRanks { size, images, most }),
            false => Ok(()),
        }
    }

    /// Gathers the numbers of all ranks, in order of rank; `lens` has the count of each rank.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn all_gather(&self, mine: &[f64], lens: &[usize]) -> Result<Vec<f64>, DistributedError> {
        let bytes = size_of_val(mine) * (self.size() - 1);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.communicator.all_gather(mine, lens)
    }

    /// Gathers one number of each rank.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn each(&self, mine: f64) -> Result<Vec<f64>, DistributedError> {
        self.all_gather(&[mine], &vec![1; self.size()])
    }

    /// Whether `mine` is true on any rank. All ranks get the same result.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn any(&self, mine: bool) -> Result<bool, DistributedError> {
        Ok(self.each(f64::from(u8::from(mine)))?.contains(&1.0))
    }

    /// Checks that all ranks have the same values, by their `hash`. `what` names the values in the plural.
    ///
    /// # Errors
    /// [`DistributedError::Differs`] if they differ. All ranks get the same error.
    pub fn expect_same(
        &self,
        hash: u64,
        what: &'static str,
        remedy: &'static str,
    ) -> Result<(), DistributedError> {
        // Each half of the hash is exact as f64.
        let mine = [(hash >> 32) as f64, (hash & u64::from(u32::MAX)) as f64];
        let all = self.all_gather(&mine, &vec![2; self.size()])?;
        match all.chunks(2).position(|other| other != &all[..2]) {
            Some(rank) => Err(DistributedError::Differs { rank, what, remedy }),
            None => Ok(()),
        }
    }

    /// Calls `work` with an [`Exchange`] for non-blocking messages. `work` begins at most `most` exchanges and ends them all.
    pub fn exchanging<R>(&self, most: usize, work: impl FnOnce(&mut dyn Exchange) -> R) -> R {
        let (mut work, mut found) = (Some(work), None);
        self.communicator.exchanging(most, &mut |exchange| {
            let (sent, waits) = (&self.sent, &self.waits);
            let mut counted = Counted { exchange, sent, waits, rank: self.rank() };
            found = work.take().map(|work| work(&mut counted));
        });
        found.expect("a communicator calls `work` once")
    }
}

/// Counts the bytes and waits of an exchange.
struct Counted<'a> {
    exchange: &'a mut dyn Exchange,
    sent: &'a AtomicU64,
    waits: &'a AtomicU64,
    rank: usize,
}

impl Exchange for Counted<'_> {
    fn begin(&mut self, to: Vec<Vec<f32>>, lens: Vec<usize>) -> Result<(), DistributedError> {
        let others = to.iter().enumerate().filter(|(rank, _)| *rank != self.rank);
        let bytes: usize = others.map(|(_, numbers)| size_of_val(&numbers[..])).sum();
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.exchange.begin(to, lens)
    }

    fn end(&mut self) -> Result<Vec<Vec<f32>>, DistributedError> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.exchange.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `find` on `size` ranks, a thread each, and returns the results in order of rank.
    fn each<R: Send + 'static>(size: usize, find: fn(Ranks) -> R) -> Vec<R> {
        let ranks = Threads::connected(size).into_iter().map(Ranks::new);
        let threads: Vec<_> = ranks.map(|rank| std::thread::spawn(move || find(rank))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    }

    #[test]
    fn ranks_have_whole_groups_and_together_all_images() {
        for size in 1..6 {
            for ranks in Threads::connected(size).into_iter().map(Ranks::new) {
                for n in 0..200 {
                    let parts: Vec<_> = (0..size).map(|rank| ranks.images_of(rank, n)).collect();
                    assert_eq!(ranks.images(n), parts[ranks.rank()]);
                    let mut end = 0;
                    for part in parts.iter().flatten() {
                        assert_eq!((part.start, part.start % GROUP), (end, 0));
                        assert!(!part.is_empty());
                        end = part.end;
                    }
                    let is_shared = size > 1 && n.div_ceil(GROUP) >= size;
                    assert_eq!(
                        (end, parts.iter().flatten().count()),
                        match is_shared {
                            true => (n, size),
                            false => (0, 0),
                        }
                    );
                    assert_eq!(ranks.expect_images(n).is_ok(), is_shared || size == 1);
                }
            }
        }
        let ranks = Ranks::new(Threads::connected(5).remove(0));
        let error = ranks.expect_images(50).expect_err("four groups").to_string();
        assert!(error.starts_with("5 ranks are too many for a batch of 50 images"), "{error}");
    }

    #[test]
    fn numbers_come_in_order_of_rank_and_are_counted() {
        let found = each(3, |ranks| {
            let mine = vec![ranks.rank() as f64; ranks.rank() + 1];
            let all = ranks.all_gather(&mine, &[1, 2, 3]).expect("all are there");
            (all, [ranks.sent(), ranks.waits()])
        });
        for (rank, (all, [sent, waits])) in found.into_iter().enumerate() {
            assert_eq!(all, [0.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
            assert_eq!((sent, waits), (2 * 8 * (rank as u64 + 1), 1));
        }
    }

    #[test]
    fn exchanges_end_in_the_order_in_which_they_were_begun() {
        for found in each(2, |ranks| {
            let rank = ranks.rank();
            let to = |n: f32| vec![vec![n, rank as f32], vec![n; 3]];
            let lens = || if rank == 0 { vec![2; 2] } else { vec![3; 2] };
            let found = ranks.exchanging(3, |exchange| {
                exchange.begin(to(1.0), lens())?;
                exchange.begin(to(2.0), lens())?;
                let first = exchange.end()?;
                ranks.each(0.0)?;
                exchange.begin(to(3.0), lens())?;
                let rest = [exchange.end()?, exchange.end()?];
                assert_eq!(exchange.end(), Err(DistributedError::NothingBegun));
                Ok::<_, DistributedError>((rank, first, rest, ranks.sent()))
            });
            found.expect("all are there")
        }) {
            let (rank, first, rest, sent) = found;
            for (n, all) in [(1.0, &first), (2.0, &rest[0]), (3.0, &rest[1])] {
                match rank {
                    0 => assert_eq!(all[..], [[n, 0.0], [n, 1.0]]),
                    _ => assert_eq!(all[..], [[n; 3], [n; 3]]),
                }
            }
            let n_sent = [3, 2][rank];
            assert_eq!(sent, 3 * 4 * n_sent + 8);
        }
    }

    #[test]
    fn a_rank_that_differs_from_rank_0_is_named_on_all_ranks() {
        let found = each(3, |ranks| {
            let hash = |odd: usize| (1 << 63) + u64::from(ranks.rank() == odd);
            let same = ranks.expect_same(hash(7), "weights", "run it again");
            (same, ranks.expect_same(hash(1), "weights", "run it again"))
        });
        for (same, other) in found {
            assert_eq!(same, Ok(()));
            let error = other.expect_err("rank 1 differs").to_string();
            assert_eq!(error, "rank 1 and rank 0 have different weights; run it again");
        }
    }

    #[test]
    fn a_rank_that_has_ended_is_an_error_of_the_others() {
        let found = each(2, |ranks| match ranks.rank() {
            0 => Ok(Vec::new()),
            _ => ranks.each(1.0),
        });
        assert_eq!(found[1], Err(DistributedError::Ended { rank: 0 }));
    }
}
