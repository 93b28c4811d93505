//! Experiment files.
//!
//! An experiment is TOML; `extends = "base.toml"` puts another file beneath it, flags and `--set` go on top. Unknown
//! keys are errors. What is left out is filled in by method and data set, so the *resolved* experiment, which every
//! run records, has a value for each key but that of a checkpoint to start from.

#[cfg(test)]
mod checks;
mod idle;
mod keys;
mod library;
mod load;
mod method;
mod operator;
mod optimization;
mod parts;
mod ranges;
mod renewal;
mod resolve;
mod start;
mod together;

pub use load::load;
pub use method::{Method, methods};
pub use resolve::Resolved;

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;

/// An experiment as written: every key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Architecture: a name of the zoo, or `NAME@WIDTH`.
    pub model: Option<String>,
    /// Data set: a name or a folder; as `from`, relative to the file that says it.
    pub data: Option<String>,
    /// Pruned checkpoint whose weights training starts from, instead of drawn ones.
    pub from: Option<String>,
    /// Decides initial weights, order and augmentation.
    pub seed: Option<u64>,
    /// How to train.
    pub train: TrainSpec,
    /// How to prune.
    pub prune: PruneSpec,
    /// Which of these keys must have an effect.
    #[serde(skip)]
    pub said: Said,
}

/// The keys that an experiment says by itself.
///
/// Those of files beneath it are left out, and so are those of `--set-shared`: they are said for other experiments as well, which may
/// read them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// In its file.
    pub in_file: BTreeSet<String>,
    /// By flags, which lie on top.
    pub by_flags: BTreeSet<String>,
}

/// How to train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Passes over the training images.
    pub epochs: Option<u64>,
    /// End after so many steps, with schedules scaled to that length; 0 for no such limit.
    pub max_steps: Option<u64>,
    /// Images in a step.
    pub batch_size: Option<u64>,
    /// Learning rate at the start of the schedule.
    pub lr: Option<f64>,
    /// Learning-rate schedule: `cosine`, `constant` or `step:FACTOR`.
    pub schedule: Option<String>,
    /// Where `step` multiplies the rate by its factor, as shares of all steps.
    pub milestones: Option<Vec<f64>>,
    /// Epochs of linear warm-up.
    pub warmup_epochs: Option<f64>,
    /// `sgd` or `adamw`.
    pub optimizer: Option<String>,
    /// Momentum of SGD.
    pub momentum: Option<f64>,
    /// Share of the gradient that does not enter the velocity of SGD.
    pub dampening: Option<f64>,
    /// Whether SGD uses Nesterov momentum.
    pub nesterov: Option<bool>,
    /// EMA coefficient of the first moment of AdamW.
    pub beta1: Option<f64>,
    /// EMA coefficient of the second moment of AdamW.
    pub beta2: Option<f64>,
    /// What AdamW adds to the root of the second moment.
    pub eps: Option<f64>,
    /// Whether a hyperbolic step of HAM follows each step of the optimizer.
    pub ham: Option<bool>,
    /// α of HAM, the weight of the gradient.
    pub ham_alpha: Option<f64>,
    /// β of HAM, the decay towards 0.
    pub ham_beta: Option<f64>,
    /// Decay of the weights of convolutions and linear layers.
    pub weight_decay: Option<f64>,
    /// The gradient's norm is clipped to this; 0 for no clipping.
    pub clip_norm: Option<f64>,
    /// Share of the target spread over all classes.
    pub label_smoothing: Option<f64>,
    /// `none`, `shift` or `crop-flip`.
    pub augment: Option<String>,
    /// Name of the constants that pixels are normalised with.
    pub normalise: Option<String>,
    /// Evaluate after every so many epochs, and after the last.
    pub eval_every: Option<u64>,
    /// Checkpoint after every so many steps, too; 0 for the ends of epochs alone.
    pub checkpoint_every: Option<u64>,
    /// Training checkpoints that stay.
    pub keep_last: Option<u64>,
    /// Whether the best epoch at the final sparsity is kept, as a network of its own.
    pub keep_best: Option<bool>,
    /// Whether TensorBoard's event files are written. It changes no number and is no part of the record.
    pub tensorboard: Option<bool>,
    /// End after the first evaluation that is so many epochs after the best one at the final sparsity; 0 for never.
    pub early_stop: Option<u64>,
    /// Use the first so many images of each split; 0 for all.
    pub limit: Option<u64>,
    /// Training images that are held out for choices between epochs: below 1 a share, from 1 on a number; 0 for none.
    pub validation: Option<f64>,
}

/// How to prune.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneSpec {
    /// One of [`methods`]: fills in what is left out.
    pub method: Option<String>,
    /// Final sparsity.
    pub sparsity: Option<f64>,
    /// The operator on kept weights: `soft`, `hard`, `feather`, `power:P`, `rescaled-soft`, `learned:S`, `learned:S:DECAY`,
    /// `power-propagation:ALPHA` or `soft-top-k:FROM:TO`.
    pub threshold: Option<String>,
    /// Share of the gradient for pruned weights: `feather`, a number, or one of the policies of [`taper::scale::by_name`].
    #[serde(deserialize_with = "text_or_number")]
    pub gradient: Option<String>,
    /// When and from what the gradient of pruned weights is computed: `exact`, `every:N`, `sampled:SHARE` or
    /// `live:MARGIN`.
    pub pruned_gradient: Option<String>,
    /// Curve of the ramp, or `phases`.
    pub schedule: Option<String>,
    /// Where the ramp begins, as a share of all steps.
    pub begin: Option<f64>,
    /// Where the ramp ends, as a share of all steps.
    pub end: Option<f64>,
    /// Sparsity at which the ramp begins.
    pub initial: Option<f64>,
    /// Points of a schedule of one's own, `[share of all steps, sparsity]`, instead of the curve; the last is at the final
    /// sparsity. None: the curve.
    pub points: Option<Vec<[f64; 2]>>,
    /// How the ramp's clock answers to the masks: `none`, or a rate of [`taper::schedule::Rate`].
    pub adapt: Option<String>,
    /// What counts as instability: `entered`, `jaccard` or `hamming`.
    pub adapt_signal: Option<String>,
    /// Steps over which masks are compared.
    pub adapt_window: Option<u64>,
    /// Share of the smoothed signal that stays when a new value comes.
    pub adapt_smoothing: Option<f64>,
    /// What the signal is compared with: `median`, or a value.
    #[serde(deserialize_with = "text_or_number")]
    pub adapt_reference: Option<String>,
    /// The slowest that the clock runs, in steps a step.
    pub adapt_slow: Option<f64>,
    /// The fastest.
    pub adapt_fast: Option<f64>,
    /// Where an adaptive ramp is at its target in any case, as a share of all steps; where it ends, if left out.
    pub adapt_deadline: Option<f64>,
    /// Which share of the pruned weights leaves for good, and which first: `none`, `smallest:SHARE`, `longest:SHARE` or
    /// `random:SHARE`.
    pub drop: Option<String>,
    /// Curve of that share from 0 at its begin to its end.
    pub drop_schedule: Option<String>,
    /// Where weights begin to leave, as a share of all steps.
    pub drop_begin: Option<f64>,
    /// Where the share is whole, as a share of all steps; at the begin if not after it.
    pub drop_end: Option<f64>,
    /// Sparsity below which no weight leaves.
    pub drop_from: Option<f64>,
    /// What becomes of filters that have lost every weight: `reference`, `silent` or `unclipped`.
    pub dead_filters: Option<String>,
    /// Moments, evenly over the run, from which pruned weights are followed to the end.
    pub probes: Option<u64>,
    /// `global`, `uniform`, `erk`, `erk:POWER`, `er` or `given:NAME=DENSITY,…`.
    pub allocation: Option<String>,
    /// `exact` or `interpolated`.
    pub quantile: Option<String>,
    /// Steps from one mask refresh, or swap, to the next.
    pub refresh_every: Option<u64>,
    /// With `initial`: the allocation of that sparsity, if it is not `allocation`.
    pub begin_allocation: Option<String>,
    /// What initial weights are multiplied by for the first masks: `none`, `fan-in` or `layer`.
    pub initial_scale: Option<String>,
    /// With `phases`: length of a sparse phase, as a share of all steps. This key and those that follow are recorded where a method
    /// or an experiment says them.
    pub sparse_phase: Option<f64>,
    /// With `phases`: length of a dense phase, as a share of all steps.
    pub dense_phase: Option<f64>,
    /// With `phases`: length of the dense phase before the last sparse one, as a share of all steps.
    pub last_dense_phase: Option<f64>,
    /// What weights are worth: `magnitude`, `scaled-magnitude`, `per-sign`, `gradient`, `saliency`, `mest:LAMBDA`, `gradient-ema:BETA`,
    /// `fisher:BETA`, `movement`, `grasp:IMAGES`, `synflow:ROUNDS` or `random`, and `normalised:` or `inverted:` before one of them.
    pub criterion: Option<String>,
    /// What is kept together: `single`, `N:M`, `N:M:output`, `block:RxC`, `block-max:RxC`, `filter`, `channel:AXIS`, `fan-in`,
    /// `fan-in:all-inputs` or `shared-inputs`.
    pub structure: Option<String>,
    /// How masks change: `top-k`, `top-k-hold`, `swap` or `hold`.
    pub renewal: Option<String>,
    /// Share of each layer's kept weights that a swap replaces.
    pub swap_share: Option<f64>,
    /// How that share goes on: `cosine`, `constant`, `learning-rate`, `power:N` or `step:FACTOR`.
    pub swap_decay: Option<String>,
    /// Where `step` multiplies the share by its factor, as shares of all steps.
    pub swap_milestones: Option<Vec<f64>>,
    /// Where the soft choice of `soft-top-k` is frozen, as a share of all steps.
    pub freeze: Option<f64>,
    /// Where swaps begin, as a share of all steps.
    pub swap_begin: Option<f64>,
    /// Where swaps end, as a share of all steps.
    pub swap_end: Option<f64>,
    /// Whether weights enter in a swap as others leave (`hard`), or first and those that exceed the sparsity leave in the next
    /// swap (`soft`).
    pub swap_bound: Option<String>,
    /// The value of weights that enter in a swap: `zero`, or `initial`, `normal`, `uniform`, `gradient` or `sign`, each also with a
    /// divisor: `normal:10`.
    pub grow_init: Option<String>,
    /// Momentum of weights that enter in a swap, in gradients.
    pub grow_momentum: Option<f64>,
    /// What weights enter by in a swap: a criterion, or `same` for the very weights that have left.
    pub grow: Option<String>,
    /// What the first masks are chosen by: a criterion.
    pub begin_by: Option<String>,
    /// What becomes of pruned weights: `alive`, `zero`, `decay:LAMBDA` or `penalty:LAMBDA`.
    pub remainder: Option<String>,
    /// Limits for single layers: pattern of a name to the most that it may be pruned.
    pub pins: Option<std::collections::BTreeMap<String, f64>>,
}

/// Takes `0.5` for `"0.5"`.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected text in quotes or a number")]
    enum Value {
        Text(String),
        Number(f64),
    }
    Ok(Option::<Value>::deserialize(deserializer)?.map(|value| match value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
    }))
}
