//! The ranks of `taper train`: the processes that `mpirun` or `srun` starts together.

use crate::{error, term};
use anyhow::Result;
use std::{thread, time::Duration};
use taper::distributed::Ranks;

/// Delay of errors on all ranks except rank 0.
const FIRST: Duration = Duration::from_secs(3);

/// The value of an environment variable, if it is a number.
fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether this is a Slurm task. Slurm sets MPICH's variables also for tasks that are independent of each other.
fn is_task() -> bool {
    std::env::var_os("SLURM_JOB_ID").is_some()
}

/// The rank of this `taper train` in Open MPI, PMIx or MPICH; `None` if it was not started by MPI.
fn rank() -> Option<usize> {
    let is_train = std::env::args_os().nth(1).is_some_and(|command| command == "train");
    let of_mpich = || number("PMI_RANK").filter(|_| !is_task());
    let rank = || number("OMPI_COMM_WORLD_RANK").or_else(|| number("PMIX_RANK")).or_else(of_mpich);
    is_train.then(rank).flatten()
}

/// The number of ranks, if MPI has set it.
fn size() -> Option<usize> {
    number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE").filter(|_| !is_task()))
}

/// Whether this is not the first rank. Other ranks neither write files nor print warnings.
pub fn is_another() -> bool {
    rank().is_some_and(|rank| rank > 0)
}

/// Delays errors of all ranks except rank 0, which usually prints the same error and aborts.
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
            "this process was started as rank {rank}, but in the MPI that taper was built with it is rank {} of {}; start taper with that MPI",
            ranks.rank(),
            ranks.size()
        ))
    );
    Ok(ranks)
}

/// The ranks that train together: this process alone. Fails if it is one of several: each would train everything.
#[cfg(not(feature = "mpi"))]
pub fn join() -> Result<Ranks> {
    match rank().and(size()).is_some_and(|size| size > 1) {
        true => Err(error::usage(
            "MPI has started this process as one of several, but this taper was built without MPI; build taper-cli with --features mpi, or start a single process",
        )),
        false => Ok(Ranks::default()),
    }
}

/// Returns `found`. If it is an error and there are several ranks, prints it and aborts all ranks.
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
