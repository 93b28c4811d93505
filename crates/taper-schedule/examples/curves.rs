//! The curves of a ramp, side by side.

use taper_core::{Sparsity, Step};
use taper_schedule::{Curve, Ramp, SparsitySchedule};

fn main() -> Result<(), taper_core::SparsityError> {
    let target = Sparsity::new(0.95)?;
    println!("step {}", Curve::ALL.map(|(name, _)| format!("{name:>9}")).join(" "));
    for step in (0..=10).map(Step) {
        let row = Curve::ALL.map(|(_, curve)| {
            let ramp = Ramp::new(curve, Step(1), Step(9), target);
            format!("{:>9.3}", ramp.sparsity(step).get())
        });
        println!("{step:>4} {}", row.join(" "));
    }
    Ok(())
}
