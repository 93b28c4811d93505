//! The interface that moves numbers between ranks.

use std::fmt;

/// Moves numbers between ranks. All ranks call the same methods in the same order.
pub trait Communicator: fmt::Debug + Send + Sync {
    /// This rank, counted from 0.
    fn rank(&self) -> usize;

    /// Number of ranks, at least 1.
    fn size(&self) -> usize;

    /// Gathers the numbers of all ranks, in order of rank; `lens` has the count of each rank.
    ///
    /// # Errors
    /// If another rank has ended.
    fn all_gather(&self, mine: &[f64], lens: &[usize]) -> Result<Vec<f64>, DistributedError>;

    /// Calls `work` with an [`Exchange`] for non-blocking messages. `work` begins at most `most` exchanges and ends them all.
    fn exchanging(&self, most: usize, work: &mut dyn FnMut(&mut dyn Exchange));
}

/// Non-blocking messages between all ranks. Exchanges end in the order in which they began.
pub trait Exchange {
    /// Begins to send `to[rank]` to each rank, and to receive `lens[rank]` numbers from each. The part for this rank
    /// itself is not sent.
    ///
    /// # Errors
    /// If another rank has ended.
    fn begin(&mut self, to: Vec<Vec<f32>>, lens: Vec<usize>) -> Result<(), DistributedError>;

    /// Waits for the oldest open exchange, and returns the numbers of each rank.
    ///
    /// # Errors
    /// If another rank has ended, or no exchange was begun.
    fn end(&mut self) -> Result<Vec<Vec<f32>>, DistributedError>;
}

/// An error between ranks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributedError {
    /// A rank has ended.
    #[error("rank {rank} has ended")]
    Ended {
        /// The rank.
        rank: usize,
    },
    /// Values differ that must be equal on all ranks.
    #[error("rank {rank} and rank 0 have different {what}; {remedy}")]
    Differs {
        /// The first rank that differs from rank 0.
        rank: usize,
        /// Name of the values, in the plural.
        what: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// There are more ranks than groups of images in a batch.
    #[error(
        "{size} ranks are too many for a batch of {images} images, because each computes at least sixteen; start at most {most}, or choose a larger batch size"
    )]
    TooManyRanks {
        /// Number of ranks.
        size: usize,
        /// Images of a batch.
        images: usize,
        /// Largest number of ranks for this batch.
        most: usize,
    },
    /// `end` was called without an open exchange.
    #[error("no exchange was begun")]
    NothingBegun,
}
