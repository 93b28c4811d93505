//! Data-parallel training of one network in several processes.
//!
//! Each process is a rank and has the whole network. A rank computes whole groups of [`GROUP`] images of each batch
//! ([`Ranks::images`]). Sums over the batch use the same tree as in one process (`taper_kernels::tree`). A [`Communicator`]
//! transports the partial sums and adds nothing. Results are therefore bit-identical for any number of ranks.
//!
//! The crate `taper-mpi` has a communicator over MPI; [`Threads`] is one between threads of a process.
//!
//! ```
//! use taper_distributed::{Ranks, Threads};
//!
//! let threads = Threads::connected(2).into_iter().map(|thread| {
//!     std::thread::spawn(move || {
//!         let ranks = Ranks::new(thread);
//!         let mine = [ranks.rank() as f64];
//!         let all = ranks.all_gather(&mine, &[1, 1]).expect("both ranks are there");
//!         (ranks.images(100), all)
//!     })
//! });
//! let found: Vec<_> = threads.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect();
//! // 100 images are seven groups.
//! assert_eq!(found[0], (Some(0..48), vec![0.0, 1.0]));
//! assert_eq!(found[1], (Some(48..100), vec![0.0, 1.0]));
//! ```
#![forbid(unsafe_code)]

mod communicator;
mod ranks;
mod threads;

pub use communicator::{Communicator, DistributedError, Exchange};
pub use ranks::{GROUP, Ranks, most_ranks};
pub use threads::Threads;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
