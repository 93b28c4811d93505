//! This process among those that `mpirun` or `srun` has started together with it.

use crate::{error, term};
use anyhow::Result;
use std::{thread, time::Duration};
use taper::distributed::Ranks;

/// How long another rank waits before it tells of an error.
const FIRST: Duration = Duration::from_secs(3);

/// What tells a process its rank: Open MPI, PMIx, by which Slurm starts any MPI, and MPICH and those like it.
const RANK: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"];

/// The rank that this process was started as, if it was started as one of several.
fn rank() -> Option<usize> {
    RANK.iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// Whether another process writes and warns for this one.
pub fn is_another() -> bool {
    rank().is_some_and(|rank| rank > 0)
}

/// Waits before an error is told, where another process mostly has the same, tells it at once and ends all.
pub fn let_first_speak() {
    if is_another() {
        thread::sleep(FIRST);
    }
}

/// The ranks that train together: this process alone, unless it was started as one of several.
#[cfg(feature = "mpi")]
pub fn join() -> Result<Ranks> {
    Ok(match rank() {
        Some(_) => Ranks::new(taper_mpi::Mpi::start()?),
        None => Ranks::default(),
    })
}

/// The ranks that train together: this process alone. Started as one of several, each would train the whole.
#[cfg(not(feature = "mpi"))]
pub fn join() -> Result<Ranks> {
    // Not Slurm's number, as its tasks may each train a run of their own.
    let is_several = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|size| size.parse().is_ok_and(|n: usize| n > 1)));
    match is_several {
        true => Err(error::usage(
            "this is one of several processes that an MPI has started, and this taper was built without it; build taper-cli with --features mpi, or start it alone",
        )),
        false => Ok(Ranks::default()),
    }
}

/// Gives what came of a rank's work. Where that is an error, it tells it and ends all ranks, which wait for this one.
pub fn leave<T>(ranks: &Ranks, found: Result<T>) -> Result<T> {
    if let (2.., Err(error)) = (ranks.size(), &found) {
        let_first_speak();
        term::line(&format!("rank {}: error: {}", ranks.rank(), error::sentence(error)));
        end_all(error::exit_code(error));
    }
    found
}

#[cfg(feature = "mpi")]
fn end_all(code: u8) {
    taper_mpi::Mpi::abort(code.into())
}

#[cfg(not(feature = "mpi"))]
fn end_all(_: u8) {}
