//! What a run has measured, and how far it is.

use serde_json::{Value, json};

/// Sums over the steps of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Sum of the loss over images.
    pub loss: f64,
    /// Images whose largest logit was the label's.
    pub n_correct: u64,
    /// Images seen.
    pub n_images: u64,
    /// Sum of the gradient norm over steps.
    pub grad_norm: f64,
    /// Sum over steps of the share of that norm that is in dead filters.
    pub dead_grad_share: f64,
    /// Sum over steps of the weights that get a gradient.
    pub n_live: f64,
    /// Steps.
    pub n_steps: u64,
}

/// A row of `metrics.csv`: what an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochMetrics {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps done by its end.
    pub step: u64,
    /// Learning rate of its last step.
    pub lr: f64,
    /// Sparsity that the schedule asked for in its last step.
    pub sparsity_target: f64,
    /// Sparsity from counts, after the refresh for evaluation.
    pub sparsity: f64,
    /// Kept weights, after the refresh for evaluation.
    pub n_kept: u64,
    /// Mean loss over the training images.
    pub train_loss: f64,
    /// Accuracy on the training images as they were trained on.
    pub train_accuracy: f64,
    /// Mean loss over the test images; NaN in an epoch without evaluation, and where validation images are held out.
    pub test_loss: f64,
    /// Accuracy on the test images; NaN likewise.
    pub test_accuracy: f64,
    /// Mean norm of the gradient before clipping, as exact training has it.
    pub grad_norm: f64,
    /// Mean share of that norm that is in dead filters: output channels of convolutions that have lost every weight.
    pub dead_grad_share: f64,
    /// Dead filters, after the refresh for evaluation.
    pub n_dead_filters: u64,
    /// Weights that were dropped for good by its end.
    pub n_dropped: u64,
    /// Mean number of the prunable weights that got a gradient.
    pub n_live: f64,
    /// Mean loss over the validation images; NaN in an epoch without evaluation, and where none are held out.
    pub validation_loss: f64,
    /// Accuracy on the validation images; NaN likewise.
    pub validation_accuracy: f64,
}

impl EpochMetrics {
    /// The accuracy that choices between epochs go by: on the validation images where some are held out, otherwise on the
    /// test images. NaN in an epoch without evaluation.
    pub fn choice_accuracy(&self) -> f64 {
        if self.validation_accuracy.is_nan() {
            self.test_accuracy
        } else {
            self.validation_accuracy
        }
    }

    /// Column names, in order.
    pub const COLUMNS: [&'static str; 17] = [
        "epoch",
        "step",
        "lr",
        "sparsity_target",
        "sparsity",
        "n_kept",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "grad_norm",
        "dead_grad_share",
        "n_dead_filters",
        "n_dropped",
        "n_live",
        "validation_loss",
        "validation_accuracy",
    ];

    /// The values of the columns; NaN is an empty field.
    pub fn fields(&self) -> [String; 17] {
        let real = |v: f64| if v.is_nan() { String::new() } else { v.to_string() };
        [
            self.epoch.to_string(),
            self.step.to_string(),
            real(self.lr),
            real(self.sparsity_target),
            real(self.sparsity),
            self.n_kept.to_string(),
            real(self.train_loss),
            real(self.train_accuracy),
            real(self.test_loss),
            real(self.test_accuracy),
            real(self.grad_norm),
            real(self.dead_grad_share),
            self.n_dead_filters.to_string(),
            self.n_dropped.to_string(),
            real(self.n_live),
            real(self.validation_loss),
            real(self.validation_accuracy),
        ]
    }

    fn to_json(self) -> Value {
        Value::Array(self.fields().into_iter().map(Value::String).collect())
    }

    fn from_json(value: &Value) -> Option<Self> {
        let fields: Vec<&str> = value.as_array()?.iter().filter_map(Value::as_str).collect();
        let whole = |i: usize| fields.get(i)?.parse::<u64>().ok();
        let real = |i: usize| match *fields.get(i)? {
            "" => Some(f64::NAN),
            text => text.parse::<f64>().ok(),
        };
        // Histories from before there was a validation part have no such fields.
        let validation = |i: usize| if fields.len() == 15 { Some(f64::NAN) } else { real(i) };
        Some(Self {
            epoch: whole(0)?,
            step: whole(1)?,
            lr: real(2)?,
            sparsity_target: real(3)?,
            sparsity: real(4)?,
            n_kept: whole(5)?,
            train_loss: real(6)?,
            train_accuracy: real(7)?,
            test_loss: real(8)?,
            test_accuracy: real(9)?,
            grad_norm: real(10)?,
            dead_grad_share: real(11)?,
            n_dead_filters: whole(12)?,
            n_dropped: whole(13)?,
            n_live: real(14)?,
            validation_loss: validation(15)?,
            validation_accuracy: validation(16)?,
        })
    }
}

/// How far a run is, and what it has measured: with the tensors of a checkpoint, all that a resumed run needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Sums of the epoch under way.
    pub tally: Tally,
    /// The epochs that are over.
    pub history: Vec<EpochMetrics>,
}

impl Progress {
    /// As JSON, without loss.
    pub fn to_json(&self) -> Value {
        let Tally { loss, n_correct, n_images, grad_norm, dead_grad_share, n_live, n_steps } =
            self.tally;
        json!({
            "step": self.step,
            // As text: JSON numbers would lose infinities.
            "tally": [
                loss.to_string(),
                n_correct.to_string(),
                n_images.to_string(),
                grad_norm.to_string(),
                dead_grad_share.to_string(),
                n_live.to_string(),
                n_steps.to_string(),
            ],
            "history": self.history.iter().map(|epoch| epoch.to_json()).collect::<Vec<_>>(),
        })
    }

    /// Takes back what [`to_json`](Self::to_json) gave; `None` if it is something else.
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
                .map(EpochMetrics::from_json)
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_json_to_the_bit() {
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
        // As earlier versions wrote it.
        let mut old = progress.to_json();
        old["history"][0].as_array_mut().unwrap().truncate(15);
        let old = Progress::from_json(&old).unwrap().history[0];
        assert!(old.validation_loss.is_nan() && old.validation_accuracy.is_nan());
        assert_eq!(old.n_live, 1.0 / 3.0);
    }

    #[test]
    fn choices_go_by_held_out_images_where_there_are_any() {
        let fields = ["0", "3", "0.1", "0", "0", "7", "1", "0.5", "", "", "1", "0", "0", "0", "7"];
        let epoch = |test: &str, validation: &str| {
            let mut fields: Vec<String> = fields.map(String::from).into();
            fields[9] = test.into();
            fields.extend([String::new(), validation.into()]);
            EpochMetrics::from_json(&json!(fields)).unwrap().choice_accuracy()
        };
        assert_eq!((epoch("0.25", ""), epoch("", "0.75")), (0.25, 0.75));
        assert!(epoch("", "").is_nan());
    }
}
