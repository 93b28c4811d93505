//! What a run is computed on and by.

use crate::{
    args::{Compute, Kernels},
    error::usage,
};
use candle_core::Device;
use clap::ValueEnum;
use taper::{
    kernels::Variant,
    nn::{
        KernelContext,
        ops::{accelerator, choice::Choice},
    },
    record::{
        Machine,
        run::{Segment, Versions},
    },
};
use taper_report::host::machine;

/// Sets the number of threads, once, before anything is computed, and refuses kernels that this machine lacks.
pub fn prepare(compute: &Compute) -> anyhow::Result<()> {
    if let Some(n) = compute.threads {
        rayon::ThreadPoolBuilder::new().num_threads(n as usize).build_global()?;
    }
    variant()?;
    if compute.kernels.is_some() && compute.device != "cpu" {
        return Err(usage(format!(
            "--kernels chooses among the kernels of the CPU; leave it out for --device {}",
            compute.device
        )));
    }
    Ok(())
}

/// What the passes of a command share: how they choose between dense and sparse kernels.
pub fn kernels(compute: &Compute) -> KernelContext {
    KernelContext::new(match compute.kernels {
        None | Some(Kernels::Measured) => Choice::Measured,
        Some(Kernels::Rule) => Choice::ByRule,
        Some(Kernels::Dense) => Choice::Dense,
        Some(Kernels::Sparse) => Choice::Sparse,
    })
}

/// The instruction set of the CPU's kernels.
pub fn variant() -> anyhow::Result<Variant> {
    Variant::from_env().map_err(usage)
}

/// The device of a name: `cpu`, `cuda`, `cuda:N` or `metal`.
pub fn device(name: &str) -> anyhow::Result<Device> {
    let ordinal = |text: Option<&str>| match text {
        None => Ok(0),
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| usage(format!("device `{name}`: `{text}` is no number"))),
    };
    let (kind, number) =
        name.split_once(':').map_or((name, None), |(kind, number)| (kind, Some(number)));
    match kind {
        "cpu" if number.is_none() => Ok(Device::Cpu),
        "cuda" if !candle_core::utils::cuda_is_available() => {
            Err(usage("this program was built without CUDA; build taper-cli with --features cuda"))
        }
        "cuda" => Ok(Device::new_cuda(ordinal(number)?)?),
        "metal" if !candle_core::utils::metal_is_available() => Err(usage(
            "this program was built without Metal; build taper-cli with --features metal",
        )),
        "metal" => Ok(Device::new_metal(ordinal(number)?)?),
        _ => Err(usage(format!("unknown device `{name}`; use cpu, cuda:N or metal"))),
    }
}

/// What computes from a step on: the program with its versions, the machine, and how it is used.
pub fn segment(from_step: u64, compute: &Compute, device: &Device) -> Segment {
    let choice = compute.kernels.unwrap_or(Kernels::Measured).to_possible_value();
    Segment {
        from_step,
        // Unknown where the program was built outside a git work tree.
        commit: option_env!("TAPER_COMMIT").map(str::to_owned),
        dirty: option_env!("TAPER_DIRTY").map(|is_dirty| is_dirty == "true"),
        versions: Versions {
            taper: Some(env!("CARGO_PKG_VERSION").into()),
            candle: option_env!("TAPER_CANDLE").map(str::to_owned),
        },
        machine: Machine { gpu: accelerator(device), ..machine() },
        device: compute.device.clone(),
        threads: rayon::current_num_threads(),
        kernels: Variant::current().name().into(),
        // Results depend on it, but for `rule` and `measured`.
        choice: choice.map(|value| value.get_name().to_owned()),
    }
}
