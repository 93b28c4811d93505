//! This process among those that `mpirun` or `srun` has started together with it.

use crate::{error, term};
use anyhow::Result;
use std::{thread, time::Duration};
use taper::distributed::Ranks;

/// How long other ranks wait before they print an error.
const FIRST: Duration = Duration::from_secs(3);

/// A number in the environment.
fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether this is a task of Slurm, which sets the variables of MPICH for tasks that have nothing to do with each other.
fn is_task() -> bool {
    std::env::var_os("SLURM_JOB_ID").is_some()
}

/// The rank of `taper train`, if it was started by an MPI: that of Open MPI, of PMIx or of MPICH.
fn rank() -> Option<usize> {
    let is_train = std::env::args().nth(1).is_some_and(|command| command == "train");
    let of_mpich = || number("PMI_RANK").filter(|_| !is_task());
    let rank = || number("OMPI_COMM_WORLD_RANK").or_else(|| number("PMIX_RANK")).or_else(of_mpich);
    is_train.then(rank).flatten()
}

/// How many ranks there are, if an MPI says so.
fn size() -> Option<usize> {
    number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE").filter(|_| !is_task()))
}

/// Whether this is a rank that neither writes nor warns.
pub fn is_another() -> bool {
    rank().is_some_and(|rank| rank > 0)
}

/// Delays errors of all ranks but rank 0, which usually prints the same error and aborts.
pub fn let_first_speak() {
    if is_another() {
        thread::sleep(FIRST);
    }
}

/// The ranks that train together: this process alone, unless it was started as one of several.
#[cfg(feature = "mpi")]
pub fn join() -> Result<Ranks> {
    let Some(rank) = rank() else { return Ok(Ranks::default()) };
    let ranks = Ranks::new(taper_mpi::Mpi::start()?);
    let is_size = size().is_none_or(|size| size == ranks.size());
    anyhow::ensure!(
        rank == ranks.rank() && is_size,
        error::usage(format!(
            "this process was started as rank {rank}, and the MPI that taper was built with counts it as rank {} of {}; start taper by that MPI",
            ranks.rank(),
            ranks.size()
        ))
    );
    Ok(ranks)
}

/// The ranks that train together: this process alone. Started as one of several, each would train the whole.
#[cfg(not(feature = "mpi"))]
pub fn join() -> Result<Ranks> {
    match rank().and(size()).is_some_and(|size| size > 1) {
        true => Err(error::usage(
            "this is one of several processes that an MPI has started, and this taper was built without it; build taper-cli with --features mpi, or start it alone",
        )),
        false => Ok(Ranks::default()),
    }
}

/// Returns `found`. If it is an error of one of several ranks, prints it and aborts all of them.
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
