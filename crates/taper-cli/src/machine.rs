//! What a run is computed on and by.

use crate::{
    args::{Compute, Kernels},
    error::usage,
};
use candle_core::Device;
use serde_json::{Value, json};
use taper::{kernels::Variant, nn::ops::choice::Choice};

/// Sets what the CPU computes with, once, before anything does: threads, instruction set, and dense or sparse kernels.
pub fn prepare(compute: &Compute) -> anyhow::Result<()> {
    if let Some(n) = compute.threads {
        rayon::ThreadPoolBuilder::new().num_threads(n as usize).build_global()?;
    }
    Variant::from_env().map_err(usage)?;
    let choice = match compute.kernels {
        None if compute.deterministic => Choice::ByRule,
        None | Some(Kernels::Measured) => Choice::Measured,
        Some(Kernels::Rule) => Choice::ByRule,
        Some(Kernels::Dense) => Choice::Dense,
        Some(Kernels::Sparse) => Choice::Sparse,
    };
    choice.set();
    Ok(())
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

/// Versions of what computes.
pub fn versions() -> Value {
    json!({ "taper": env!("CARGO_PKG_VERSION"), "candle": "0.11" })
}

/// The commit that this program was built from, if it is known.
pub fn commit() -> Option<&'static str> {
    option_env!("TAPER_COMMIT")
}

/// Operating system, processor and threads.
pub fn describe(device: &str) -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": cpu_model(),
        "cores": cores,
        "threads": rayon::current_num_threads(),
        "kernels": Variant::current().name(),
        "device": device,
    })
}

fn cpu_model() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}
