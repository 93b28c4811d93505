//! A user-defined policy beside a built-in one, as the sparsity rises.

use taper_core::Sparsity;
use taper_scale::{Fall, Falling, GradientScale, Now, PrunedGrad};

/// Pruned weights receive their full gradient until the target sparsity is reached, and a quarter of it afterwards.
#[derive(Debug)]
struct ThenLess;

impl GradientScale for ThenLess {
    fn at(&self, now: &Now) -> PrunedGrad {
        PrunedGrad::uniform(if now.achieved < now.target { 1.0 } else { 0.25 })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = Sparsity::new(0.98)?;
    let falling = Falling::new(Fall::Cosine, 0.25)?;
    println!("sparsity  then less  cosine");
    for achieved in [0.0, 0.25, 0.5, 0.75, 0.9, 0.98] {
        let now = Now { achieved: Sparsity::new(achieved)?, target, progress: achieved };
        let [own, there] = [ThenLess.at(&now), falling.at(&now)].map(|grad| grad.at_zero);
        println!("{achieved:>8.2}  {own:>9.3}  {there:>6.3}");
    }
    Ok(())
}
