//! Properties that hold for every method, for any weights, gradients and sparsity.

use super::{Small, layers, resolve};
use crate::spec::{Method, methods};
use proptest::{prelude::*, test_runner::TestCaseResult};
use taper::{
    core::{LayerInfo, Step, rng::Rng},
    kernels::mask::Mask,
    nn::Params,
};

const TOTAL: u64 = 24;
/// The first layer is pinned for N:M patterns, which do not fit it.
const SHAPES: [(&str, [usize; 2]); 3] =
    [("conv1", [3, 2]), ("middle", [6, 8]), ("linear", [4, 12])];

/// The methods that prune, without those that need a checkpoint or layers of another kind.
fn pruning() -> Vec<(String, Method)> {
    let others = ["dense", "dense-small", "finetune", "filter"];
    methods().unwrap().into_iter().filter(|(name, _)| !others.contains(&&**name)).collect()
}

fn noise(key: [u64; 3], n: usize) -> Vec<f32> {
    let mut rng = Rng::for_key(key);
    // Coarse numbers create ties.
    (0..n).map(|_| (rng.below(17) as f32 - 8.0) / 8.0).collect()
}

fn slopes(seed: u64, step: u64) -> Vec<Vec<f32>> {
    let of = |(i, (_, [rows, columns])): (usize, (&str, [usize; 2]))| {
        noise([seed, step + 1, i as u64], rows * columns)
    };
    SHAPES.into_iter().enumerate().map(of).collect()
}

fn params(seed: u64) -> Params {
    let weights: Vec<Vec<f32>> = SHAPES
        .iter()
        .enumerate()
        .map(|(i, (_, [rows, columns]))| noise([seed, 0, i as u64], rows * columns))
        .collect();
    let of: Vec<_> =
        SHAPES.iter().zip(&weights).map(|((name, shape), w)| (*name, &shape[..], &w[..])).collect();
    layers(&of).unwrap()
}

/// Keys of an experiment with this method and sparsity.
fn sets(name: &str, method: &Method, more: &[&str], sparsity: f64, seed: u64) -> Vec<String> {
    let mut sets = vec![
        format!("prune.method={name}"),
        format!("seed={seed}"),
        "train.lr=0.125".into(),
        "train.momentum=0.5".into(),
        // Without it, the first velocity after a reset equals the gradient.
        "train.weight_decay=0".into(),
    ];
    match method.prune.structure {
        Some(_) => sets.push("prune.pins={ \"conv1.weight\" = 0 }".into()),
        None if name == "str" => {}
        None => sets.push(format!("prune.sparsity={sparsity}")),
    }
    if method.prune.refresh_every.is_some() {
        sets.push("prune.refresh_every=3".into());
    }
    sets.extend(more.iter().map(|set| set.to_string()));
    sets
}

/// Further keys to test with a method.
const VARIANTS: [(&str, &[&str]); 11] = [
    ("rigl", &["prune.grow_init=\"initial:4\"", "prune.grow_momentum=0.5"]),
    ("rigl", &["prune.grow_init=gradient", "prune.grow_momentum=1.0", "prune.grow=random"]),
    ("rigl", &["prune.grow_init=normal", "prune.swap_decay=learning-rate"]),
    ("set", &["prune.grow_init=uniform", "prune.grow=same"]),
    ("mest", &["prune.swap_bound=soft"]),
    ("mest", &["prune.swap_bound=soft", "prune.grow_init=\"sign:8\"", "prune.swap_end=0.5"]),
    ("random", &["prune.structure=\"fan-in:all-inputs\"", "prune.initial_scale=fan-in"]),
    ("snip", &["prune.initial_scale=layer"]),
    ("rigl", &["prune.structure=fan-in", "prune.initial_scale=fan-in"]),
    ("set", &["prune.structure=\"fan-in:all-inputs\"", "prune.grow_init=normal"]),
    ("granet", &["prune.swap_bound=soft", "prune.swap_end=0.9"]),
];

/// Checks a run of a method.
fn check(
    name: &str,
    method: &Method,
    more: &[&str],
    sparsity: f64,
    seed: u64,
    resumed: u64,
) -> TestCaseResult {
    let resolved = resolve(&sets(name, method, more, sparsity, seed)).unwrap();
    let is_soft = more.contains(&"prune.swap_bound=soft");
    let schedule = resolved.schedule(TOTAL).unwrap();
    let start = || Small::new(&resolved, params(seed), TOTAL).unwrap();
    let (mut run, mut other) = (start(), start());
    let n: u64 = run.params.layers().iter().map(LayerInfo::n_weights).sum();
    let is_zero = method.prune.remainder.as_deref() == Some("zero");
    let mut n_kept = n;
    for step in 0..TOTAL {
        let before = run.weights();
        let changed = run.step(step, &slopes(seed, step)).unwrap();
        if step == resumed {
            // A fresh pruner, as in a new process, with the state, weights and velocity of the old one.
            let (state, velocity) =
                (other.pruner.state(), other.optimizer.state(&other.params).unwrap());
            let mut fresh = start();
            for ((_, var), (_, before)) in fresh.params.prunable().zip(other.params.prunable()) {
                var.set(before.as_tensor()).unwrap();
            }
            fresh.pruner.restore(state).unwrap();
            fresh.optimizer.restore(&fresh.params, &velocity).unwrap();
            other = fresh;
        }
        let again = other.step(step, &slopes(seed, step)).unwrap();
        let masks = run.masks();
        prop_assert_eq!(&changed, &again, "{} at step {}", name, step);
        prop_assert_eq!(&masks, &other.masks(), "{} at step {}", name, step);
        prop_assert_eq!(run.weights(), other.weights(), "{} at step {}", name, step);
        prop_assert_eq!(run.pruner.state(), other.pruner.state(), "{} at step {}", name, step);

        let kept: u64 = masks.iter().map(Mask::n_kept).sum();
        if name == "sr-ste" {
            prop_assert!(two_of_four(&masks), "{} at step {}", name, step);
        } else if name == "str" {
            let above = before.iter().zip(cuts(&run)).map(|(w, cut)| Mask::above(w, cut));
            prop_assert_eq!(&masks, &above.collect::<Vec<_>>(), "{} at step {}", name, step);
        } else if is_soft {
            let least = schedule.sparsity(Step(step)).n_kept(n);
            prop_assert_eq!(kept, run.pruner.sparsity().n_kept(n), "{} at step {}", name, step);
            prop_assert!(kept >= least, "{} at step {}", name, step);
        } else if run.pruner.sparsity() == schedule.sparsity(Step(step)) {
            prop_assert_eq!(kept, run.pruner.sparsity().n_kept(n), "{} at step {}", name, step);
        } else {
            prop_assert_eq!(kept, n_kept, "{} at step {}: masks are held", name, step);
        }
        n_kept = kept;
        for (layer, forgotten) in changed.forgotten.iter().flatten().enumerate() {
            let (velocity, slopes) = (&run.velocity()[layer], &slopes(seed, step)[layer]);
            // Weights that entered before the forward pass have the velocity of this step.
            let begun = changed.momentum.as_ref().map(|momentum| &momentum[layer].weights);
            let is_fresh = |i| {
                velocity[i] == 0.0
                    || velocity[i] == slopes[i]
                    || begun.is_some_and(|begun| begun.is_kept(i))
            };
            prop_assert!(forgotten.kept().all(is_fresh), "{} at step {}", name, step);
        }
        for (momentum, velocity) in changed.momentum.iter().flatten().zip(run.velocity()) {
            let now: Vec<f32> = momentum.weights.kept().map(|i| velocity[i]).collect();
            prop_assert_eq!(&now, &momentum.values, "{} at step {}", name, step);
        }
        for ((mask, weights), velocity) in masks.iter().zip(run.weights()).zip(run.velocity()) {
            let mut pruned = (0..mask.len()).filter(|&i| !mask.is_kept(i));
            let rests = |i| weights[i] == 0.0 && velocity[i] == 0.0;
            prop_assert!(!is_zero || pruned.all(rests), "{} at step {}", name, step);
        }
    }
    prop_assert_eq!(run.pruner.sparsity(), resolved.sparsity(), "{} ends at its target", name);
    Ok(())
}

/// The threshold of each layer.
fn cuts(run: &Small) -> Vec<f32> {
    run.pruner.state().cuts
}

/// Whether all layers except the pinned one keep two of each four weights along the input axis.
fn two_of_four(masks: &[Mask]) -> bool {
    masks[0].n_kept() == masks[0].len() as u64
        && masks[1..].iter().all(|mask| {
            let fours = (0..mask.len()).step_by(4);
            fours.into_iter().all(|i| (i..i + 4).filter(|&i| mask.is_kept(i)).count() == 2)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_method_keeps_what_it_should_and_resumes_to_the_bit(
        sparsity in 0.5f64..0.95,
        seed in 0u64..1000,
        resumed in 0..TOTAL,
    ) {
        let methods = pruning();
        prop_assert!(methods.len() >= 11);
        for (name, method) in methods {
            check(&name, &method, &[], sparsity, seed, resumed)?;
            for (_, more) in VARIANTS.iter().filter(|(of, _)| *of == name) {
                check(&name, &method, more, sparsity, seed, resumed)?;
            }
        }
    }
}

#[test]
fn a_run_of_unknown_length_may_have_a_ramp_of_few_steps() -> anyhow::Result<()> {
    let ramp = resolve(&[
        "prune.method=gmp",
        "prune.renewal=hold",
        "prune.criterion=saliency",
        "prune.end=0.05",
    ])?;
    let params = layers(&[("a", &[2, 10], &[1.0; 20])])?;
    assert!(ramp.pruner(&params, 1000, 0).is_err(), "50 steps of the ramp skip the optimizer");
    assert!(ramp.pruner_for_any_length(&params)?.is_some());
    let dense = resolve(&["prune.method=dense"])?;
    assert!(dense.pruner_for_any_length(&params)?.is_none());
    Ok(())
}
