//! A policy of one's own: less gradient for pruned weights as the network gets sparser.

use taper_core::Sparsity;
use taper_scale::{GradientScale, Now, PrunedGrad};

#[derive(Debug)]
struct Fading;

impl GradientScale for Fading {
    fn at(&self, now: &Now) -> PrunedGrad {
        PrunedGrad::uniform(now.achieved.density() as f32)
    }
}

fn main() -> Result<(), taper_core::SparsityError> {
    let target = Sparsity::new(0.98)?;
    for achieved in [0.0, 0.5, 0.9, 0.98] {
        let now = Now { achieved: Sparsity::new(achieved)?, target, progress: achieved };
        println!("at sparsity {achieved}: pruned weights receive {:?}", Fading.at(&now));
    }
    Ok(())
}
