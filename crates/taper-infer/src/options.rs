//! How a network is compiled.

use taper_kernels::Variant;

/// How a network is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Images that a run takes at most, at least 1.
    pub batch: usize,
    /// Threads of a run, at least 1.
    pub threads: usize,
    /// Chooses kernels by rule, so that the plan is the same on each call. Otherwise a few kernels of each convolution are run
    /// while the network is compiled, and the fastest is taken: compiling takes up to 0.5 s more for ResNet-50 at 224×224,
    /// and 0.01 s for ResNet-20 at 32×32. The bits of results are the same.
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
