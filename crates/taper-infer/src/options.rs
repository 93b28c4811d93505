//! Options of compilation.

use crate::InferError;
use taper_kernels::Variant;

/// Largest number of images of a run, for any network.
const MOST_IMAGES: usize = 1 << 16;
/// Largest number of threads. A larger number is a mistake, and the system may fail to start them.
const MOST_THREADS: usize = 1 << 10;

/// Options of compilation.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest number of images of a run, 1 to 65,536.
    pub batch: usize,
    /// Threads of a run, 1 to 1024. They share the images of a batch, so a run uses at most one thread per image.
    /// If the system cannot start them, [`Engine::workspace`](crate::Engine::workspace) fails.
    pub threads: usize,
    /// Chooses kernels by rule, which gives the same plan in each compilation. Otherwise a few kernels of each
    /// convolution are timed while the network is compiled, and the fastest is used. Timing takes 0.25 s for ResNet-50
    /// at 224×224 and 5 ms for ResNet-20 at 32×32 (95 and 98 % sparse, one core of an AMD EPYC), and the memory of one
    /// image. The results are bit-identical. The rule also chooses for convolutions of more than 2²⁸ multiply-adds, for
    /// networks of more than 64 MiB per image, and in WebAssembly, which has no clock.
    pub deterministic: bool,
    /// The instruction set, which this machine must support. `None` for the best one.
    pub variant: Option<Variant>,
}

impl Default for Options {
    /// One image on one thread.
    fn default() -> Self {
        Self { batch: 1, threads: 1, deterministic: false, variant: None }
    }
}

impl Options {
    /// Checks the options that do not depend on the network.
    ///
    /// # Errors
    /// If the batch or the number of threads is outside its range.
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
