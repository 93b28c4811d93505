//! Experiment files.
//!
//! An experiment is TOML. `extends = "base.toml"` puts another file below it; flags and `--set` go on top. Unknown keys
//! are errors. The method and the data set fill in what is left out. The *resolved* experiment, which every run
//! records, has a value for each key except `from`.

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
mod validation;

pub use load::{keys_of, load};
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
    /// Data set: a name or a folder. This path and `from` are relative to the file that sets them.
    pub data: Option<String>,
    /// Pruned checkpoint to start from; without it, weights are random.
    pub from: Option<String>,
    /// Seed of initial weights, image order and augmentation.
    pub seed: Option<u64>,
    /// How to train.
    pub train: TrainSpec,
    /// How to prune.
    pub prune: PruneSpec,
    /// Which keys are set, and so must have an effect.
    #[serde(skip)]
    pub said: Said,
}

/// The keys that an experiment itself sets.
///
/// Keys of extended files and of `--set-shared` are left out: they are meant for several experiments, and some of these
/// may not use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// In its file.
    pub in_file: BTreeSet<String>,
    /// By flags on top.
    pub by_flags: BTreeSet<String>,
}

/// How to train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Number of epochs.
    pub epochs: Option<u64>,
    /// Maximum number of steps, with schedules scaled to that length; 0 for no limit.
    pub max_steps: Option<u64>,
    /// Images per step.
    pub batch_size: Option<u64>,
    /// Learning rate at the start of the schedule.
    pub lr: Option<f64>,
    /// Learning-rate schedule: `cosine`, `constant` or `step:FACTOR`.
    pub schedule: Option<String>,
    /// Where `step` multiplies the rate by its factor, as fractions of all steps.
    pub milestones: Option<Vec<f64>>,
    /// Epochs of linear warm-up.
    pub warmup_epochs: Option<f64>,
    /// `sgd` or `adamw`.
    pub optimizer: Option<String>,
    /// Momentum of SGD.
    pub momentum: Option<f64>,
    /// Dampening of SGD: the fraction of the gradient that does not enter the velocity.
    pub dampening: Option<f64>,
    /// Whether SGD uses Nesterov momentum.
    pub nesterov: Option<bool>,
    /// EMA coefficient of the first moment of AdamW.
    pub beta1: Option<f64>,
    /// EMA coefficient of the second moment of AdamW.
    pub beta2: Option<f64>,
    /// ε of AdamW, added to the root of the second moment.
    pub eps: Option<f64>,
    /// Whether a hyperbolic step of HAM follows each step of the optimizer.
    pub ham: Option<bool>,
    /// α of HAM, the weight of the gradient.
    pub ham_alpha: Option<f64>,
    /// β of HAM, the decay towards 0.
    pub ham_beta: Option<f64>,
    /// Weight decay of convolutions and linear layers.
    pub weight_decay: Option<f64>,
    /// Maximum norm of the gradient, which is clipped to it; 0 for no clipping.
    pub clip_norm: Option<f64>,
    /// Label smoothing: the fraction of the target that is spread over all classes.
    pub label_smoothing: Option<f64>,
    /// Augmentation: `none`, `shift` or `crop-flip`.
    pub augment: Option<String>,
    /// Name of the constants that normalise pixels.
    pub normalise: Option<String>,
    /// Evaluate every so many epochs, and after the last.
    pub eval_every: Option<u64>,
    /// Steps between checkpoints within an epoch; 0 for checkpoints at the ends of epochs only.
    pub checkpoint_every: Option<u64>,
    /// Number of training checkpoints to keep.
    pub keep_last: Option<u64>,
    /// Whether to keep the network of the best epoch at the final sparsity.
    pub keep_best: Option<bool>,
    /// Whether to write TensorBoard event files. Changes no number, and is not recorded.
    pub tensorboard: Option<bool>,
    /// End at the first evaluation that is so many epochs after the best one at the final sparsity; 0 for never.
    pub early_stop: Option<u64>,
    /// Number of images to use per split, from the first; 0 for all.
    pub limit: Option<u64>,
    /// Training images held out for choices between epochs: a fraction below 1, or a number of images; 0 for none.
    pub validation: Option<f64>,
}

/// How to prune.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneSpec {
    /// One of [`methods`]; it fills in what is left out.
    pub method: Option<String>,
    /// Final sparsity.
    pub sparsity: Option<f64>,
    /// The operator on kept weights: `soft`, `hard`, `feather`, `power:P`, `rescaled-soft`, `learned:S`,
    /// `learned:S:DECAY`, `power-propagation:ALPHA` or `soft-top-k:FROM:TO`.
    pub threshold: Option<String>,
    /// Factor on the gradient of pruned weights: `feather`, a number, or a policy of [`taper::scale::by_name`].
    #[serde(deserialize_with = "text_or_number")]
    pub gradient: Option<String>,
    /// When and how the gradient of pruned weights is computed: `exact`, `every:N`, `sampled:SHARE` or `live:MARGIN`.
    pub pruned_gradient: Option<String>,
    /// Curve of the ramp, or `phases`.
    pub schedule: Option<String>,
    /// Where the ramp begins, as a fraction of all steps.
    pub begin: Option<f64>,
    /// Where the ramp ends, as a fraction of all steps.
    pub end: Option<f64>,
    /// Sparsity at which the ramp begins.
    pub initial: Option<f64>,
    /// Points `[fraction of all steps, sparsity]` that replace the curve; the last has the final sparsity. If empty,
    /// the curve is used.
    pub points: Option<Vec<[f64; 2]>>,
    /// How the ramp adapts to mask changes: `none`, or a rate of [`taper::schedule::Rate`].
    pub adapt: Option<String>,
    /// The signal of instability: `entered`, `jaccard` or `hamming`.
    pub adapt_signal: Option<String>,
    /// Distance in steps between the masks that are compared.
    pub adapt_window: Option<u64>,
    /// EMA coefficient of the signal.
    pub adapt_smoothing: Option<f64>,
    /// What the signal is compared with: `median`, or a number.
    #[serde(deserialize_with = "text_or_number")]
    pub adapt_reference: Option<String>,
    /// Lowest rate of the adaptive schedule, in schedule steps per training step.
    pub adapt_slow: Option<f64>,
    /// Highest rate of the adaptive schedule.
    pub adapt_fast: Option<f64>,
    /// Where an adaptive ramp reaches its target at the latest, as a fraction of all steps; `end`, if left out.
    pub adapt_deadline: Option<f64>,
    /// Which fraction of the pruned weights is permanently pruned, and which weights first: `none`, `smallest:SHARE`,
    /// `longest:SHARE` or `random:SHARE`.
    pub drop: Option<String>,
    /// Curve of that fraction, from 0 at `drop_begin` to its full value at `drop_end`.
    pub drop_schedule: Option<String>,
    /// Where permanent pruning begins, as a fraction of all steps.
    pub drop_begin: Option<f64>,
    /// Where that fraction reaches its full value, as a fraction of all steps; if it equals `drop_begin`, it does so at
    /// once.
    pub drop_end: Option<f64>,
    /// Sparsity below which no weight is permanently pruned.
    pub drop_from: Option<f64>,
    /// How dead filters, which have no kept weight, are treated: `reference`, `silent` or `unclipped`.
    pub dead_filters: Option<String>,
    /// Number of steps, spread evenly over the run, from which pruned weights are followed to the end.
    pub probes: Option<u64>,
    /// Allocation of the sparsity to layers: `global`, `uniform`, `erk`, `erk:POWER`, `er` or `given:NAME=DENSITY,…`.
    pub allocation: Option<String>,
    /// Quantile of the magnitudes: `exact` or `interpolated`.
    pub quantile: Option<String>,
    /// Steps between mask updates.
    pub refresh_every: Option<u64>,
    /// With `initial`: the allocation at that sparsity, if it differs from `allocation`.
    pub begin_allocation: Option<String>,
    /// Scaling of initial weights for the first masks: `none`, `fan-in` or `layer`.
    pub initial_scale: Option<String>,
    /// With `phases`: length of a sparse phase, as a fraction of all steps. This key and the following ones are
    /// recorded only if a method or an experiment sets them.
    pub sparse_phase: Option<f64>,
    /// With `phases`: length of a dense phase, as a fraction of all steps.
    pub dense_phase: Option<f64>,
    /// With `phases`: length of the dense phase before the last sparse one, as a fraction of all steps.
    pub last_dense_phase: Option<f64>,
    /// Score of weights: `magnitude`, `scaled-magnitude`, `per-sign`, `gradient`, `saliency`, `mest:LAMBDA`,
    /// `gradient-ema:BETA`, `fisher:BETA`, `movement`, `grasp:IMAGES`, `synflow:ROUNDS` or `random`, optionally with
    /// the prefix `normalised:` or `inverted:`.
    pub criterion: Option<String>,
    /// Units that are kept or pruned together: `single`, `N:M`, `N:M:output`, `block:RxC`, `block-max:RxC`, `filter`,
    /// `channel:AXIS`, `fan-in`, `fan-in:all-inputs` or `shared-inputs`.
    pub structure: Option<String>,
    /// How masks change: `top-k`, `top-k-hold`, `swap` or `hold`.
    pub renewal: Option<String>,
    /// Fraction of each layer's kept weights that a prune-and-regrow update replaces.
    pub swap_share: Option<f64>,
    /// Decay of that fraction: `cosine`, `constant`, `learning-rate`, `power:N` or `step:FACTOR`.
    pub swap_decay: Option<String>,
    /// Where `step` multiplies the fraction by its factor, as fractions of all steps.
    pub swap_milestones: Option<Vec<f64>>,
    /// Where the soft mask of `soft-top-k` is frozen, as a fraction of all steps.
    pub freeze: Option<f64>,
    /// Where prune-and-regrow updates begin, as a fraction of all steps.
    pub swap_begin: Option<f64>,
    /// Where prune-and-regrow updates end, as a fraction of all steps.
    pub swap_end: Option<f64>,
    /// Whether an update prunes and regrows together (`hard`), or regrows first and prunes the excess in the next
    /// update (`soft`).
    pub swap_bound: Option<String>,
    /// Initial value of regrown weights: `zero`, or `initial`, `normal`, `uniform`, `gradient` or `sign`, each
    /// optionally with a divisor: `normal:10`.
    pub grow_init: Option<String>,
    /// Initial momentum of regrown weights, as a multiple of their gradient.
    pub grow_momentum: Option<f64>,
    /// Criterion of regrowth, or `same` to regrow the weights that were just pruned.
    pub grow: Option<String>,
    /// Criterion of the first masks.
    pub begin_by: Option<String>,
    /// Treatment of pruned weights: `alive`, `zero`, `decay:LAMBDA` or `penalty:LAMBDA`.
    pub remainder: Option<String>,
    /// Maximum sparsity of single layers, by patterns of their names.
    pub pins: Option<std::collections::BTreeMap<String, f64>>,
}

/// Accepts `0.5` for `"0.5"`.
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
