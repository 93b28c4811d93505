//! Processes that train one network together.
//!
//! Each process is a rank of a [`Ranks`] and has the whole network. Of each batch it computes the images that
//! [`Ranks::images`] gives it: whole groups of [`GROUP`] images, so that the tree in which sums over a batch are taken (see
//! `taper_kernels::tree`) is that of a single process. What a sum needs of the others goes through a [`Communicator`], which
//! moves numbers and adds none. Results are therefore the same to the bit for any number of ranks.
//!
//! A communicator over MPI is in the crate `taper-mpi`; [`Threads`] is one among threads of a process.
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
pub use ranks::{GROUP, Ranks};
pub use threads::Threads;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
