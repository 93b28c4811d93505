//! Device, threads and kernels of a command.

use crate::{
    args::{ComputeArgs, Kernels},
    error::usage,
};
use taper::{kernels::Variant, nn::ops::choice::Choice};
use taper_experiment::Compute;

/// The device and kernels of a command. Sets the number of threads; must be called once, before any computation. Fails
/// if the machine lacks the chosen instruction set.
pub fn prepare(args: &ComputeArgs) -> anyhow::Result<Compute> {
    // The current thread joins the pool. Otherwise each of the hundreds of parallel loops in a step would put this
    // thread to sleep and wake another.
    let threads = args.threads.map_or(0, |n| n as usize);
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?;
    variant()?;
    if args.kernels.is_some() && args.device != "cpu" {
        return Err(usage(format!(
            "--kernels applies only to the CPU; leave it out for --device {}",
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
