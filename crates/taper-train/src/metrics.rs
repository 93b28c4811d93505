//! The progress of a run, and its measurements.

use serde_json::{Value, json};
use taper_record::{
    epoch::EpochMetrics,
    rows::{fields, from_fields},
};

/// Sums over the steps of the current epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Sum of the loss over images.
    pub loss: f64,
    /// Images that were classified correctly.
    pub n_correct: u64,
    /// Number of images.
    pub n_images: u64,
    /// Sum of the gradient norm over steps.
    pub grad_norm: f64,
    /// Sum over steps of the fraction of that norm in dead filters.
    pub dead_grad_share: f64,
    /// Sum over steps of the number of weights with a gradient.
    pub n_live: f64,
    /// Number of steps.
    pub n_steps: u64,
}

/// The progress of a run, and its measurements. Together with the tensors of a checkpoint, this is all that a resumed
/// run needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Number of completed steps.
    pub step: u64,
    /// Sums of the current epoch.
    pub tally: Tally,
    /// The completed epochs.
    pub history: Vec<EpochMetrics>,
}

impl Progress {
    /// As JSON, without loss.
    pub fn to_json(&self) -> Value {
        let Tally { loss, n_correct, n_images, grad_norm, dead_grad_share, n_live, n_steps } =
            self.tally;
        json!({
            "step": self.step,
            // As text, because JSON numbers cannot be infinite.
            "tally": [
                loss.to_string(),
                n_correct.to_string(),
                n_images.to_string(),
                grad_norm.to_string(),
                dead_grad_share.to_string(),
                n_live.to_string(),
                n_steps.to_string(),
            ],
            // `fields` cannot fail for a flat struct of numbers.
            "history": self.history.iter().map(|epoch| fields(epoch).unwrap_or_default()).collect::<Vec<_>>(),
        })
    }

    /// Parses the result of [`to_json`](Self::to_json); `None` if it has another form.
    pub fn from_json(value: &Value) -> Option<Self> {
        let tally: Vec<&str> =
            value.get("tally")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let [loss, n_correct, n_images, grad_norm, dead_grad_share, n_live, n_steps] = tally[..]
        else {
            return None;
        };
        Some(Self {
            step: value.get("step")?.as_u64()?,
            tally: Tally {
                loss: loss.parse().ok()?,
                n_correct: n_correct.parse().ok()?,
                n_images: n_images.parse().ok()?,
                grad_norm: grad_norm.parse().ok()?,
                dead_grad_share: dead_grad_share.parse().ok()?,
                n_live: n_live.parse().ok()?,
                n_steps: n_steps.parse().ok()?,
            },
            history: value
                .get("history")?
                .as_array()?
                .iter()
                .map(|epoch| {
                    let fields: Option<Vec<&str>> =
                        epoch.as_array()?.iter().map(Value::as_str).collect();
                    from_fields(&fields?)
                })
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_bit_identical_after_a_round_trip_through_json() {
        let epoch = EpochMetrics {
            epoch: 0,
            step: 3,
            lr: 0.1 + 0.2,
            sparsity_target: 1.0 / 3.0,
            sparsity: 0.9,
            n_kept: 7,
            train_loss: f64::MIN_POSITIVE,
            train_accuracy: 0.5,
            test_loss: f64::NAN,
            test_accuracy: f64::NAN,
            grad_norm: 1e300,
            dead_grad_share: 0.1 + 0.2,
            n_dead_filters: 5,
            n_dropped: 6,
            n_live: 1.0 / 3.0,
            validation_loss: 0.1 + 0.2,
            validation_accuracy: 2.0 / 3.0,
        };
        let tally = Tally {
            loss: 0.1 + 0.7,
            n_correct: 1,
            n_images: 2,
            grad_norm: f64::INFINITY,
            dead_grad_share: 1.0 / 7.0,
            n_live: 12.0,
            n_steps: 4,
        };
        let progress = Progress { step: 9, tally, history: vec![epoch] };
        let text = progress.to_json().to_string();
        let back = Progress::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{progress:?}"));
        assert!(Progress::from_json(&json!({ "step": 1 })).is_none());
        // Earlier versions wrote 15 fields.
        let mut old = progress.to_json();
        old["history"][0].as_array_mut().unwrap().truncate(15);
        let old = Progress::from_json(&old).unwrap().history[0];
        assert!(old.validation_loss.is_nan() && old.validation_accuracy.is_nan());
        assert_eq!(old.n_live, 1.0 / 3.0);
    }
}
