//! How a network is compiled.

use crate::InferError;
use taper_kernels::Variant;

/// Images that a run takes at most, for any network.
const MOST_IMAGES: usize = 1 << 16;
/// Threads that a run takes at most; more than that is a mistake, and the system may refuse to start them.
const MOST_THREADS: usize = 1 << 10;

/// How a network is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Images that a run takes at most, 1 to 65,536.
    pub batch: usize,
    /// Threads of a run, 1 to 1024. They share the images of a batch, so a run has no more of them than images.
    /// Where the system starts fewer, [`Engine::workspace`](crate::Engine::workspace) fails.
    pub threads: usize,
    /// Chooses kernels by rule, so that the plan is the same on each call. Otherwise a few kernels of each convolution are run
    /// while the network is compiled, and the fastest is taken: that takes 0.25 s for ResNet-50 at 224×224 and 5 ms for
    /// ResNet-20 at 32×32 (95 and 98 % sparse, one core of an AMD EPYC), and the memory of one image. The bits of results are
    /// the same. The rule also chooses for convolutions of more than 2²⁸ multiply-adds, for networks of more than 64 MiB an
    /// image, and in WebAssembly, which has no clock.
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

impl Options {
    /// Checks what does not depend on the network.
    ///
    /// # Errors
    /// If the batch or the number of threads is outside of its range.
    pub fn check(&self) -> Result<(), InferError> {
        for (what, n, most) in
            [("batch", self.batch, MOST_IMAGES), ("threads", self.threads, MOST_THREADS)]
        {
            if !(1..=most).contains(&n) {
                let message = format!("{what} is {n}, outside 1 to {most}");
                return Err(InferError::Options(message));
            }
        }
        Ok(())
    }
}
