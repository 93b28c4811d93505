//! A ramp and its adaptive version: between steps 40 and 80, five times as many weights enter the mask.

use taper_core::{MaskFeedback, Sparsity, Step};
use taper_schedule::{Adaptation, Adaptive, Ramp, SparsitySchedule};

/// Prunable weights of the simulated network.
const N_WEIGHTS: u64 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ramp = Ramp::feather(Sparsity::new(0.9)?, 200);
    let adaptation = Adaptation { window: 5, ..Adaptation::by(Step(140)) };
    let mut schedule = Adaptive::new(ramp, adaptation)?;
    println!("step  entered  clock    plain  adaptive");
    for step in (0..=150).step_by(5).map(Step) {
        let now = schedule.sparsity(step);
        let share = if (40..80).contains(&step.0) { 0.05 } else { 0.01 };
        let (plain, clock) = (ramp.sparsity(step), schedule.clock(step).unwrap_or_default());
        println!(
            "{:>4}  {share:>7}  {clock:>5.1}  {:>7.4}  {:>8.4}",
            step.0,
            plain.get(),
            now.get()
        );
        let n_kept = now.n_kept(N_WEIGHTS);
        let n_before = schedule.sparsity(Step(step.0.saturating_sub(5))).n_kept(N_WEIGHTS);
        let n_entered = (share * n_kept as f64) as u64;
        let n_left = (n_before + n_entered).saturating_sub(n_kept);
        let n_weights = N_WEIGHTS;
        schedule.observe(&MaskFeedback { step, n_weights, n_before, n_kept, n_entered, n_left });
    }
    Ok(())
}
