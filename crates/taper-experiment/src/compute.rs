//! What a run is computed on and by.

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

/// What this program was built from, as records have it.
#[derive(Clone, Copy, Debug)]
pub struct BuiltFrom {
    /// The commit of Taper; unknown where it was built outside of its git work tree.
    pub commit: Option<&'static str>,
    /// Whether its sources differed from that.
    pub is_dirty: Option<bool>,
    /// The compiler.
    pub rustc: Option<&'static str>,
}

/// What this program was built from.
pub const BUILT_FROM: BuiltFrom = BuiltFrom {
    commit: option_env!("TAPER_COMMIT"),
    is_dirty: match option_env!("TAPER_DIRTY") {
        Some(text) => Some(matches!(text.as_bytes(), b"true")),
        None => None,
    },
    rustc: option_env!("TAPER_RUSTC"),
};

/// What a run is computed on: the CPU, unless it is told otherwise. The number of threads is that of rayon's pool.
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

    /// The choice of kernels, as records have it.
    pub(crate) fn choice_name(&self) -> &'static str {
        match self.choice {
            Choice::Measured => "measured",
            Choice::ByRule => "rule",
            Choice::Dense => "dense",
            Choice::Sparse => "sparse",
        }
    }

    /// What computes from a step on: the program with its versions, the machine, and how it is used.
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
            // Results depend on it, but for `rule` and `measured`.
            choice: Some(self.choice_name().into()),
        }
    }
}
