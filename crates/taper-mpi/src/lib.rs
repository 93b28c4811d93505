//! A [`Communicator`](taper_distributed::Communicator) over MPI.
//!
//! With the feature `mpi`, `Mpi::start` starts MPI in this process, and a run trains in `Ranks::new(mpi)`. MPI only
//! moves numbers; Taper computes all sums. Without the feature the crate is empty.
#![forbid(unsafe_code)]

#[cfg(feature = "mpi")]
mod world;

#[cfg(feature = "mpi")]
pub use world::{Mpi, MpiError};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
