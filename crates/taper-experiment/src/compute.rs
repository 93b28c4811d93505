//! The device and the kernels of a run, and the build information of the program.

use crate::error::usage;
use candle_core::Device;
use taper::{
    distributed::Ranks,
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

/// Build information of this program, for records.
#[derive(Clone, Copy, Debug)]
pub struct BuiltFrom {
    /// The commit of Taper; `None` if it was built outside its git work tree.
    pub commit: Option<&'static str>,
    /// Whether the sources differed from that commit.
    pub is_dirty: Option<bool>,
    /// The version of the compiler.
    pub rustc: Option<&'static str>,
}

/// Build information of this program.
pub const BUILT_FROM: BuiltFrom = BuiltFrom {
    commit: option_env!("TAPER_COMMIT"),
    is_dirty: match option_env!("TAPER_DIRTY") {
        Some(text) => Some(matches!(text.as_bytes(), b"true")),
        None => None,
    },
    rustc: option_env!("TAPER_RUSTC"),
};

/// The device of a run and its choice of kernels. The default is the CPU. The number of threads is that of rayon's
/// pool.
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
    /// The kernel context that all passes share.
    pub fn kernels(&self) -> KernelContext {
        KernelContext::new(self.choice)
    }

    /// Opens the device.
    ///
    /// # Errors
    /// If the name is unknown, the program was built without support for the device, or the machine does not have it.
    pub fn device(&self) -> anyhow::Result<Device> {
        let name = &*self.device;
        let ordinal = |text: Option<&str>| match text {
            None => Ok(0),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| usage(format!("device `{name}`: `{text}` is not a number"))),
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

    /// The choice of kernels, as records store it.
    pub(crate) fn choice_name(&self) -> &'static str {
        match self.choice {
            Choice::Measured => "measured",
            Choice::ByRule => "rule",
            Choice::Dense => "dense",
            Choice::Sparse => "sparse",
        }
    }

    /// Records what computes from a step on: the program with its versions, the machine, the device, threads and ranks.
    pub(crate) fn segment(&self, from_step: u64, device: &Device, ranks: &Ranks) -> Segment {
        Segment {
            from_step,
            commit: BUILT_FROM.commit.map(str::to_owned),
            dirty: BUILT_FROM.is_dirty,
            versions: Versions {
                taper: Some(env!("CARGO_PKG_VERSION").into()),
                candle: option_env!("TAPER_CANDLE").map(str::to_owned),
            },
            machine: Machine { gpu: accelerator(device), ..machine() },
            device: self.device.clone(),
            threads: rayon::current_num_threads(),
            ranks: (ranks.size() > 1).then_some(ranks.size()),
            kernels: Variant::current().name().into(),
            // Results depend on the choice; only `rule` and `measured` give equal results.
            choice: Some(self.choice_name().into()),
        }
    }
}
