//! Every combination of parts trains, or is rejected with a message that names two keys.

use super::{Small, layers, resolve, values};
use taper::zoo::Architecture;

const RENEWALS: [&[&str]; 9] = [
    &["renewal=top-k"],
    &["renewal=top-k", "refresh_every=2"],
    &["renewal=swap", "grow=random", "refresh_every=2"],
    &["renewal=swap", "grow=gradient"],
    &["renewal=swap", "grow=same", "grow_init=normal", "refresh_every=2"],
    &["renewal=swap", "swap_bound=soft", "swap_end=0.5", "grow_momentum=0.5", "refresh_every=2"],
    &["renewal=swap", "grow=\"gradient-ema:0.5\"", "refresh_every=2"],
    &["renewal=hold"],
    &["renewal=top-k-hold"],
];
const STRUCTURES: [&str; 6] =
    ["single", "2:4", "block:2x2", "filter", "fan-in:all-inputs", "shared-inputs"];
const REMAINDERS: [&[&str]; 6] = [
    &["remainder=alive"],
    &["remainder=zero"],
    &["remainder=zero", "gradient=0"],
    &["remainder=\"decay:0.1\"", "pruned_gradient=\"every:2\""],
    &["remainder=\"penalty:0.1\"", "pruned_gradient=\"live:1\""],
    &["gradient=\"proximity:0.2,0.8\"", "drop=\"smallest:0.5\""],
];
const THRESHOLDS: [&str; 2] = ["hard", "feather"];
const CRITERIA: [&str; 5] = ["magnitude", "per-sign", "saliency", "random", "movement"];
const SCHEDULES: [&[&str]; 3] = [
    &["schedule=cubic"],
    &["schedule=one-shot", "quantile=interpolated"],
    &["adapt=reciprocal", "adapt_window=1"],
];

/// The number of keys that a message names.
fn n_keys(sentence: &str) -> usize {
    let mut keys: Vec<&str> = sentence
        .split("prune.")
        .skip(1)
        .map(|rest| rest.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().unwrap())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

#[test]
fn every_combination_trains_or_is_refused_by_two_keys() -> anyhow::Result<()> {
    let (mut n_trained, mut n_refused) = (0, 0);
    for renewal in RENEWALS {
        for structure in STRUCTURES {
            for remainder in REMAINDERS {
                for threshold in THRESHOLDS {
                    for criterion in CRITERIA {
                        for schedule in SCHEDULES {
                            let mut sets = vec![
                                format!("prune.structure=\"{structure}\""),
                                format!("prune.threshold={threshold}"),
                                format!("prune.criterion={criterion}"),
                                // No input axis is a multiple of 4, and the last layer has no filters.
                                "prune.pins={ \"conv1.weight\" = 0, \"linear.weight\" = 0 }".into(),
                                "prune.sparsity=0.5".into(),
                            ];
                            let parts = [renewal, remainder, schedule].into_iter().flatten();
                            sets.extend(parts.map(|set| format!("prune.{set}")));
                            match train(&sets) {
                                Ok(()) => n_trained += 1,
                                Err(error) => {
                                    let sentence = error.to_string();
                                    assert!(n_keys(&sentence) >= 2, "{sets:?}: {sentence}");
                                    assert_eq!(crate::error::exit_code(&error), 2, "{sentence}");
                                    n_refused += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(n_trained > 200 && n_refused > 1000, "{n_trained} trained, {n_refused} refused");
    Ok(())
}

/// Trains for three steps. Returns an error only if the experiment is rejected before anything is built.
fn train(sets: &[String]) -> anyhow::Result<()> {
    let resolved = resolve(sets)?;
    let model = Architecture::find("digits-cnn")?.build(10, 0, &candle_core::Device::Cpu)?;
    let total = 4;
    let mut run = Small::new(&resolved, model.params().clone(), total)
        .expect("a resolved experiment can be built");
    let slopes: Vec<Vec<f32>> = run.params.prunable().map(|(_, var)| values(var)).collect();
    for step in 0..3 {
        run.step(step, &slopes).expect("a step");
    }
    let masks = run.masks();
    let (n_kept, n) =
        masks.iter().fold((0, 0), |(kept, n), mask| (kept + mask.n_kept(), n + mask.len() as u64));
    assert!(n_kept > 0 && n_kept < n, "{sets:?}");
    assert!(run.weights().iter().flatten().all(|w| w.is_finite()));
    Ok(())
}

#[test]
fn keys_are_counted_once() {
    assert_eq!(
        n_keys("prune.threshold is feather, and prune.renewal is hold: … prune.threshold"),
        2
    );
    assert_eq!(n_keys("prune.swap_share is 0"), 1);
}

#[test]
fn layers_that_do_not_fit_a_pattern_are_rejected() {
    let error = resolve(&["prune.method=sr-ste"]).unwrap_err().to_string();
    for part in ["prune.structure `2:4`", "conv1.weight", "no multiple of 4", "prune.pins"] {
        assert!(error.contains(part), "{error}");
    }
    let sets = ["prune.method=sr-ste", "prune.sparsity=0.9"];
    let error = resolve(&sets).unwrap_err().to_string();
    assert!(error.contains("prune.sparsity is 0.9") && error.contains("2:4 has a sparsity of 0.5"));
    let error = resolve(&["prune.method=filter"]).unwrap_err().to_string();
    assert!(error.contains("linear.weight") && error.contains("prune.pins"), "{error}");
    assert!(resolve(&["prune.method=sr-ste", "prune.pins={ \"conv1.weight\" = 0 }"]).is_ok());
}

#[test]
fn weights_that_were_put_to_0_stay_pruned_while_the_sparsity_rises() {
    let weights: Vec<f32> = (1..=48).map(|i| i as f32 / 8.0).collect();
    for criterion in ["random", "inverted:magnitude", "magnitude", "inverted:gradient"] {
        // Masks that are chosen by gradients may not follow a ramp step by step.
        let few = "prune.points=[[0.0, 0.25], [0.2, 0.25], [0.25, 0.5], [0.6, 0.5], [0.65, 0.75]]";
        let sets = match criterion {
            "inverted:gradient" => &["prune.method=random", few][..],
            _ => &["prune.method=random", "prune.schedule=cubic", "prune.end=0.5"],
        };
        let criterion = format!("prune.criterion=\"{criterion}\"");
        let resolved = resolve(&[sets, &[&criterion, "prune.sparsity=0.75"]].concat());
        let params = layers(&[("linear", &[6, 8], &weights)]).unwrap();
        let mut run = Small::new(&resolved.unwrap(), params, 24).unwrap();
        let mut before = None;
        for step in 0..24 {
            run.step(step, &[vec![0.25; 48]]).unwrap();
            let mask = run.masks().swap_remove(0);
            let has_come_back = before.is_some_and(|before| mask.difference(&before).n_kept() > 0);
            assert!(!has_come_back, "{criterion} at step {step}");
            before = Some(mask);
        }
        assert_eq!(before.map(|mask| mask.n_kept()), Some(12), "{criterion}");
    }
}

#[test]
fn choices_that_never_learn_or_never_take_effect_are_rejected() {
    for (sets, parts) in [
        (
            &["prune.method=rigl", "prune.threshold=\"power-propagation:2\""][..],
            ["prune.threshold is power-propagation:2", "prune.remainder is zero"],
        ),
        (
            &["prune.method=gmp", "prune.remainder=zero", "prune.criterion=random"],
            ["prune.criterion is random", "prune.remainder is zero"],
        ),
        (&["prune.method=spartan", "prune.end=0.9"], ["prune.freeze is 0.8", "prune.end at 0.9"]),
        (
            &["prune.method=str", "prune.pins={ \"linear.weight\" = 0 }"],
            ["prune.pins", "prune.threshold"],
        ),
        (&["prune.method=str", "prune.allocation=erk"], ["prune.allocation", "leave"]),
    ] {
        let error = resolve(sets).map(drop).expect_err(sets[1]).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{sets:?}: {error}");
    }
    let hold = ["prune.method=snip", "prune.threshold=\"power-propagation:2\""];
    assert!(resolve(&hold).is_ok(), "no weight is regrown");
    let per_sign = ["prune.method=gmp", "prune.remainder=zero", "prune.criterion=per-sign"];
    assert!(resolve(&per_sign).is_ok(), "it ranks weights of 0 last");
}
