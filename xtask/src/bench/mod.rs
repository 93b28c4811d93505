//! Benchmarks: speed as ratios, measured side by side.
//!
//! Two programs take the same requests as lines of JSON: Taper's `crates/taper/benches/session.rs` and its peer
//! `benches/peers/step.py`. They are asked in turn, A B A B, so that whatever disturbs the machine disturbs both.

mod process;
pub(crate) mod suite;
mod torch;

pub(crate) use process::Process;
pub(crate) use torch::{torch_python, torch_version};

/// The middle of some times, in seconds.
pub(crate) fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_and_of_nothing_no_number() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
