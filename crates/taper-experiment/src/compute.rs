//! What a run is computed on and by.

use crate::error::usage;
use candle_core::Device;
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
use taper_host::machine;

/// What a run is computed on: the first CPU, unless it is told otherwise. The number of threads is that of rayon's pool.
#[derive(Clone, Debug)]
pub struct Compute {
    /// `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: String,
    /// How layers on the CPU choose between dense and sparse kernels.
    pub choice: Choice,
}

impl Default for Compute {
    fn default() -> Self {
        Self { device: "cpu".into(), choice: Choice::default() }
    }
}

impl Compute {
    /// What passes share: how they choose kernels.
    pub fn kernels(&self) -> KernelContext {
        KernelContext::new(self.choice)
    }

    /// The device of that name.
    ///
    /// # Errors
    /// If there is no such name, the program was built without it, or the machine lacks it.
    pub fn device(&self) -> anyhow::Result<Device> {
        let name = &*self.device;
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
            "cuda" if !candle_core::utils::cuda_is_available() => Err(usage(
                "this program was built without CUDA; build taper-cli with --features cuda",
            )),
            "cuda" => Ok(Device::new_cuda(ordinal(number)?)?),
            "metal" if !candle_core::utils::metal_is_available() => Err(usage(
                "this program was built without Metal; build taper-cli with --features metal",
            )),
            "metal" => Ok(Device::new_metal(ordinal(number)?)?),
            _ => Err(usage(format!("unknown device `{name}`; use cpu, cuda:N or metal"))),
        }
    }

    /// What computes from a step on: the program with its versions, the machine, and how it is used.
    pub(crate) fn segment(&self, from_step: u64, device: &Device) -> Segment {
        let choice = match self.choice {
            Choice::Measured => "measured",
            Choice::ByRule => "rule",
            Choice::Dense => "dense",
            Choice::Sparse => "sparse",
        };
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
            device: self.device.clone(),
            threads: rayon::current_num_threads(),
            kernels: Variant::current().name().into(),
            // Results depend on it, but for `rule` and `measured`.
            choice: Some(choice.into()),
        }
    }
}
