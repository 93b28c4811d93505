//! Checks the ranges of numbers.

use super::{PruneSpec, TrainSpec};
use crate::error::usage;
use std::{ops::RangeInclusive, str::FromStr};

/// Each step from which weights are followed takes a byte per weight.
const MAX_PROBES: u64 = 100;

/// Parses a number within a range.
pub(super) fn number<T: FromStr + PartialOrd>(text: &str, legal: RangeInclusive<T>) -> Option<T> {
    text.parse().ok().filter(|number| legal.contains(number))
}

/// Rejects values out of range; errors name the key and the range. Every key has a value.
pub(super) fn check(train: &TrainSpec, prune: &PruneSpec) -> anyhow::Result<()> {
    let whole = |key: &str, value: Option<u64>, max: u64| match value {
        Some(v) if (1..=max).contains(&v) => Ok(()),
        v => Err(usage(format!("{key} is {}, outside 1 to {max}", v.unwrap_or(0)))),
    };
    whole("train.epochs", train.epochs, 1_000_000)?;
    whole("train.batch_size", train.batch_size, 65_536)?;
    whole("train.eval_every", train.eval_every, 1_000_000)?;
    whole("train.keep_last", train.keep_last, 1_000_000)?;
    whole("prune.refresh_every", prune.refresh_every, 1_000_000_000)?;
    let real = |key: &str, value: Option<f64>, legal: &str, is_legal: fn(f64) -> bool| match value {
        Some(v) if is_legal(v) => Ok(()),
        v => Err(usage(format!("{key} is {}, outside {legal}", v.unwrap_or(f64::NAN)))),
    };
    let not_negative = |v: f64| v >= 0.0 && v.is_finite();
    real("train.lr", train.lr, "0 (exclusive) to 1000", |v| v > 0.0 && v <= 1000.0)?;
    real("train.warmup_epochs", train.warmup_epochs, "[0, inf)", not_negative)?;
    let (warmup, epochs) = (train.warmup_epochs.unwrap_or(0.0), train.epochs.unwrap_or(0));
    if warmup >= epochs as f64 {
        return Err(usage(format!(
            "train.warmup_epochs is {warmup}, outside [0, {epochs}) (train.epochs): the learning rate would never reach train.lr; choose a shorter warm-up or a longer run"
        )));
    }
    let below_one = |v: f64| (0.0..1.0).contains(&v);
    real("train.momentum", train.momentum, "[0, 1)", below_one)?;
    real("train.dampening", train.dampening, "[0, 1)", below_one)?;
    real("train.beta1", train.beta1, "[0, 1)", below_one)?;
    real("train.beta2", train.beta2, "[0, 1)", below_one)?;
    real("train.eps", train.eps, "0 (exclusive) to 1", |v| v > 0.0 && v <= 1.0)?;
    real("train.ham_alpha", train.ham_alpha, "0 to 1000000", |v| (0.0..=1e6).contains(&v))?;
    real("train.ham_beta", train.ham_beta, "0 to 1000", |v| (0.0..=1e3).contains(&v))?;
    real("train.weight_decay", train.weight_decay, "[0, inf)", not_negative)?;
    real("train.clip_norm", train.clip_norm, "[0, inf)", not_negative)?;
    real("train.label_smoothing", train.label_smoothing, "[0, 1)", below_one)?;
    let legal = "0 (none), a fraction in (0, 1), or a whole number of images";
    real("train.validation", train.validation, legal, |v| {
        (0.0..1.0).contains(&v) || (v.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&v))
    })?;
    // The exact limit depends on the number of weights; the pruner checks it.
    if let Some(percent) = prune.sparsity.filter(|&s| (2.0..100.0).contains(&s)) {
        return Err(usage(format!(
            "prune.sparsity is {percent}, outside [0, 1); it is a fraction: did you mean {}?",
            percent / 100.0
        )));
    }
    real("prune.sparsity", prune.sparsity, "[0, 1)", |v| (0.0..=1.0).contains(&v))?;
    real("prune.begin", prune.begin, "[0, 1]", |v| (0.0..=1.0).contains(&v))?;
    real("prune.end", prune.end, "[0, 1]", |v| (0.0..=1.0).contains(&v))?;
    let (begin, end) = (prune.begin.unwrap_or(0.0), prune.end.unwrap_or(0.0));
    // One-shot pruning has no end.
    if end < begin && prune.schedule.as_deref() != Some("one-shot") {
        return Err(usage(format!("prune.end is {end}, before prune.begin at {begin}")));
    }
    real("prune.drop_begin", prune.drop_begin, "[0, 1)", |v| (0.0..1.0).contains(&v))?;
    real("prune.drop_end", prune.drop_end, "[0, 1]", |v| (0.0..=1.0).contains(&v))?;
    real("prune.drop_from", prune.drop_from, "[0, 1)", |v| (0.0..1.0).contains(&v))?;
    let (drop_begin, drop_end) = (prune.drop_begin.unwrap_or(0.0), prune.drop_end.unwrap_or(0.0));
    let drops = prune.drop.as_deref() != Some("none");
    if drops && drop_end < drop_begin {
        return Err(usage(format!(
            "prune.drop_end is {drop_end}, before prune.drop_begin at {drop_begin}"
        )));
    }
    let (initial, sparsity) = (prune.initial.unwrap_or(0.0), prune.sparsity.unwrap_or(0.0));
    let drop_from = prune.drop_from.unwrap_or(0.0);
    if drops && drop_from > sparsity {
        return Err(usage(format!(
            "prune.drop_from is {drop_from}, outside [0, {sparsity}] (the final sparsity), so no weight would be dropped"
        )));
    }
    if prune.probes > Some(MAX_PROBES) {
        let n = prune.probes.unwrap_or(0);
        return Err(usage(format!("prune.probes is {n}, outside 0 to {MAX_PROBES}")));
    }
    for (key, value) in [
        ("swap_share", prune.swap_share),
        ("swap_end", prune.swap_end),
        ("freeze", prune.freeze),
        ("sparse_phase", prune.sparse_phase),
        ("dense_phase", prune.dense_phase),
        ("last_dense_phase", prune.last_dense_phase),
    ] {
        if value.is_some_and(|value| !(value > 0.0 && value <= 1.0)) {
            let value = value.unwrap_or_default();
            return Err(usage(format!("prune.{key} is {value}, outside (0, 1]")));
        }
    }
    real("prune.grow_momentum", prune.grow_momentum.or(Some(0.0)), "[0, 100]", |v| {
        (0.0..=100.0).contains(&v)
    })?;
    let milestones = prune.swap_milestones.as_deref().unwrap_or_default();
    if let Some(share) = milestones.iter().find(|&&share| !(share > 0.0 && share < 1.0)) {
        return Err(usage(format!(
            "prune.swap_milestones has {share}, outside (0, 1); give fractions of the run"
        )));
    }
    let points = prune.points.as_deref().unwrap_or_default();
    let is_adaptive = prune.adapt.as_deref().is_some_and(|adapt| adapt != "none");
    let (last, key) = match points.last() {
        None if prune.schedule.as_deref() == Some("one-shot") => {
            (prune.begin.unwrap_or(0.0), "prune.begin")
        }
        _ if is_adaptive => (prune.adapt_deadline.unwrap_or(end), "prune.adapt_deadline"),
        Some(point) => (point[0], "the last of prune.points"),
        None => (end, "prune.end"),
    };
    let freezes = prune.threshold.as_deref().is_some_and(|name| name.starts_with("soft-top-k"));
    if let Some(freeze) = prune.freeze.filter(|&freeze| freezes && freeze < last) {
        return Err(usage(format!(
            "prune.freeze is {freeze}, before {key} at {last}, so the final sparsity would never be reached; set prune.freeze after it"
        )));
    }
    let (swap_begin, swap_end) = (prune.swap_begin.unwrap_or(0.0), prune.swap_end.unwrap_or(1.0));
    let swaps = prune.renewal.as_deref() == Some("swap");
    if swaps && !(0.0..swap_end).contains(&swap_begin) {
        return Err(usage(format!(
            "prune.swap_begin is {swap_begin}, outside [0, {swap_end}) (before prune.swap_end)"
        )));
    }
    let deadline = prune.adapt_deadline.unwrap_or(end);
    // A ramp that ends with the run is rejected later, with the number of steps, whether it adapts or not.
    let is_in_time = deadline < 1.0 || end == 1.0;
    if is_adaptive && !(is_in_time && (end..=1.0).contains(&deadline)) {
        return Err(usage(format!(
            "prune.adapt_deadline is {deadline}, outside [{end}, 1) (at or after prune.end, and before the end of the run)"
        )));
    }
    if !(0.0..=sparsity).contains(&initial) {
        return Err(usage(format!(
            "prune.initial is {initial}, outside [0, {sparsity}] (the final sparsity)"
        )));
    }
    let is_ramp = !["one-shot", "phases"].contains(&prune.schedule.as_deref().unwrap_or_default());
    if is_ramp && points.is_empty() && end == 1.0 && initial < sparsity {
        return Err(usage(format!(
            "prune.end is 1, outside [0, 1): the schedule would not reach its target {sparsity} in the last step; set a smaller prune.end"
        )));
    }
    for pair in points.windows(2) {
        let [[x, low], [next, high]] = [pair[0], pair[1]];
        if next <= x || high < low {
            return Err(usage(format!(
                "prune.points has [{next}, {high}] after [{x}, {low}]; fractions of the steps must increase, and sparsities must not decrease"
            )));
        }
    }
    for &[x, y] in points {
        if !((0.0..=1.0).contains(&x) && (0.0..=sparsity).contains(&y)) {
            return Err(usage(format!(
                "prune.points has [{x}, {y}], outside of [0, 1] (the run) and [0, {sparsity}] (the final sparsity)"
            )));
        }
    }
    if points.last().is_some_and(|&[_, y]| y != sparsity) {
        return Err(usage(format!("prune.points ends below {sparsity}, the final sparsity")));
    }
    // An adaptive schedule must reach its last point by the deadline.
    if is_adaptive && points.last().is_some_and(|&[x, _]| x > deadline) {
        return Err(usage(format!(
            "prune.adapt_deadline is {deadline}, before the last of prune.points"
        )));
    }
    for (pattern, &at_most) in prune.pins.iter().flatten() {
        if !(0.0..1.0).contains(&at_most) {
            return Err(usage(format!("prune.pins.\"{pattern}\" is {at_most}, outside [0, 1)")));
        }
    }
    Ok(())
}
