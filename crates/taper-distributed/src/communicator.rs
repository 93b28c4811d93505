//! What moves numbers between ranks.

use std::fmt;

/// Moves numbers between ranks. All ranks call the same methods in the same order.
pub trait Communicator: fmt::Debug + Send + Sync {
    /// This rank, counted from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are, at least 1.
    fn size(&self) -> usize;

    /// The numbers of all ranks, in order of rank; `lens` says how many each has.
    ///
    /// # Errors
    /// If another rank has ended.
    fn all_gather(&self, mine: &[f64], lens: &[usize]) -> Result<Vec<f64>, DistributedError>;

    /// Calls `work` with an [`Exchange`] for non-blocking messages. `work` begins at most `most` exchanges and ends them all.
    fn exchanging(&self, most: usize, work: &mut dyn FnMut(&mut dyn Exchange));
}

/// Messages between all ranks. Exchanges end in the order in which they were begun.
pub trait Exchange {
    /// Begins to send `to[rank]` to each rank, and to receive `lens[rank]` numbers of each. What is for this rank itself
    /// is kept.
    ///
    /// # Errors
    /// If another rank has ended.
    fn begin(&mut self, to: Vec<Vec<f32>>, lens: Vec<usize>) -> Result<(), DistributedError>;

    /// Waits for the exchange that was begun first, and gives what each rank has sent.
    ///
    /// # Errors
    /// If another rank has ended, or no exchange was begun.
    fn end(&mut self) -> Result<Vec<Vec<f32>>, DistributedError>;
}

/// What goes wrong between ranks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributedError {
    /// A rank is not there any longer.
    #[error("rank {rank} has ended")]
    Ended {
        /// Which one.
        rank: usize,
    },
    /// A rank has something that must be the same on all ranks, and is not.
    #[error("rank {rank} and rank 0 have different {what}; {remedy}")]
    Differs {
        /// Which one.
        rank: usize,
        /// What differs, in the plural.
        what: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// There are more ranks than groups of images in a batch.
    #[error(
        "{size} ranks are too many for a batch of {images} images, as each computes at least sixteen; start at most {most}, or choose a larger batch size"
    )]
    TooManyRanks {
        /// How many ranks there are.
        size: usize,
        /// Images of a batch.
        images: usize,
        /// How many ranks it allows.
        most: usize,
    },
    /// An exchange was ended that was not begun.
    #[error("no exchange was begun")]
    NothingBegun,
}
