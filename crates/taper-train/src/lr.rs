//! Learning rates.

/// One cosine from `lr` down to nearly 0 over the whole run, in steps, with an optional linear warm-up.
///
/// ```text
/// j  = max(i − 1, 0)
/// lr_i = lr·(1 + cos(π·j / total)) / 2 · min(1, (i + 1) / warmup)
/// ```
///
/// The lag of one step is that of the reference implementation of Feather, whose scheduler steps *after* the
/// optimizer with the index of the step just done; so steps 0 and 1 both use `lr`.
///
/// ```
/// use taper_train::Cosine;
/// let lr = Cosine { lr: 0.1, total_steps: 4, warmup_steps: 0 };
/// assert_eq!((lr.at(0), lr.at(1)), (0.1, 0.1));
/// assert!((lr.at(3) - 0.05).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    /// Rate at the start.
    pub lr: f64,
    /// Steps of the run.
    pub total_steps: u64,
    /// Steps over which the rate rises linearly; 0 for none.
    pub warmup_steps: u64,
}

impl Cosine {
    /// The rate of `step`.
    pub fn at(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1) as f64 / self.total_steps.max(1) as f64;
        let cosine = self.lr * (1.0 + libm::cos(std::f64::consts::PI * done)) / 2.0;
        if step < self.warmup_steps {
            cosine * (step + 1) as f64 / self.warmup_steps as f64
        } else {
            cosine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_to_the_cosine() {
        let plain = Cosine { lr: 1.0, total_steps: 100, warmup_steps: 0 };
        let warm = Cosine { warmup_steps: 4, ..plain };
        assert_eq!(warm.at(0), 0.25);
        assert_eq!(warm.at(1), 0.5);
        assert_eq!(warm.at(3), plain.at(3));
        assert_eq!(warm.at(4), plain.at(4));
        assert!(plain.at(99) > 0.0 && plain.at(99) < 0.001);
    }
}
