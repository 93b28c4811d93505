//! What a command computes on.

use crate::{
    args::{ComputeArgs, Kernels},
    error::usage,
};
use taper::{kernels::Variant, nn::ops::choice::Choice};
use taper_experiment::Compute;

/// What a command computes on. Sets the number of threads, once, before anything is computed, and refuses kernels that this
/// machine lacks.
pub fn prepare(args: &ComputeArgs) -> anyhow::Result<Compute> {
    // This thread is one of the pool's. From outside, each of the hundreds of parallel loops of a step would put this thread
    // to sleep and wake another.
    let threads = args.threads.map_or(0, |n| n as usize);
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    variant()?;
    if args.kernels.is_some() && args.device != "cpu" {
        return Err(usage(format!(
            "--kernels chooses among the kernels of the CPU; leave it out for --device {}",
            args.device
        )));
    }
    let choice = match args.kernels {
        None | Some(Kernels::Measured) => Choice::Measured,
        Some(Kernels::Rule) => Choice::ByRule,
        Some(Kernels::Dense) => Choice::Dense,
        Some(Kernels::Sparse) => Choice::Sparse,
    };
    Ok(Compute { device: args.device.clone(), choice })
}

/// The instruction set of the CPU's kernels.
pub fn variant() -> anyhow::Result<Variant> {
    Variant::from_env().map_err(usage)
}
