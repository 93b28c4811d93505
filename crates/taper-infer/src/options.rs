//! How a network is compiled.

use taper_kernels::Variant;

/// How a network is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Images that a run takes at most, at least 1.
    pub batch: usize,
    /// Threads of a run, at least 1.
    pub threads: usize,
    /// Chooses kernels by rule alone, so that the plan is the same on each call. The engine has no choice by timing yet, so
    /// this changes nothing.
    pub deterministic: bool,
    /// The instruction set, which this machine must have; its best one if there is none.
    pub variant: Option<Variant>,
}

impl Default for Options {
    /// One image on one thread.
    fn default() -> Self {
        Self { batch: 1, threads: 1, deterministic: false, variant: None }
    }
}
