//! A [`Communicator`](taper_distributed::Communicator) over MPI.
//!
//! With the feature `mpi`, `Mpi::start` begins MPI in this process, and `Ranks::new` of it is what a run trains in. MPI moves
//! numbers alone; all sums are Taper's own. Without the feature the crate is empty.
#![forbid(unsafe_code)]

#[cfg(feature = "mpi")]
mod world;

#[cfg(feature = "mpi")]
pub use world::{Mpi, MpiError};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
