//! Each rank prints the numbers of all ranks. Build: `cargo build -p taper-mpi --features mpi --example sum`; run it by
//! `mpirun`.

use taper_distributed::Ranks;
use taper_mpi::{Mpi, MpiError};

fn main() -> Result<(), MpiError> {
    let ranks = Ranks::new(Mpi::start()?);
    match ranks.each((ranks.rank() + 1) as f64) {
        Ok(all) => println!("rank {} of {}: {all:?}", ranks.rank(), ranks.size()),
        Err(error) => eprintln!("error: {error}"),
    }
    Ok(())
}
