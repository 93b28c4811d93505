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
    if let Some(n) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(n as usize).build_global()?;
    }
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
