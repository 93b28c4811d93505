//! Compares criteria that accumulate gradients over steps with sums that are computed here.

use super::{Small, layers, resolve};
use taper::kernels::mask::Mask;

const N: usize = 12;

fn number(step: u64, index: usize) -> f32 {
    // Multiples of 1/2 from −3 to 3, in irregular order.
    ((index as u64 * 7 + step * 5 + index as u64 * step * 3) % 13) as f32 / 2.0 - 3.0
}

fn slopes(step: u64) -> Vec<f32> {
    (0..N).map(|index| number(step, index)).collect()
}

fn small(sets: &[&str], total: u64) -> Small {
    let base = ["train.lr=0.125", "train.momentum=0.5", "train.weight_decay=0"];
    let resolved = resolve(&[&base[..], sets].concat()).unwrap();
    let weights: Vec<f32> = (0..N).map(|index| number(31, index) + 0.125).collect();
    Small::new(&resolved, layers(&[("linear", &[3, 4], &weights)]).unwrap(), total).unwrap()
}

/// The indices of the n largest scores; ties go to the lower index.
fn largest(scores: &[f32], among: impl Iterator<Item = usize>, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = among.collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(n);
    order.sort_unstable();
    order
}

fn kept(mask: &Mask) -> Vec<usize> {
    mask.kept().collect()
}

#[test]
fn snfs_grows_by_the_average_of_all_gradients_and_moves_kept_weights_alone() {
    let sets = ["prune.method=snfs", "prune.sparsity=0.5", "prune.refresh_every=3"];
    let sets =
        [&sets[..], &["prune.grow=\"gradient-ema:0.75\"", "prune.swap_decay=constant"]].concat();
    let mut run = small(&sets, 20);
    let mut mean = [0.0f32; N];
    let mut mask = Vec::new();
    for step in 0..12 {
        let (before, slopes) = (run.weights().swap_remove(0), slopes(step));
        let changed = run.step(step, std::slice::from_ref(&slopes)).unwrap();
        assert!(!changed.is_skipped, "an average needs no skipped step");
        mean.iter_mut().zip(&slopes).for_each(|(m, g)| *m = 0.75f32.mul_add(*m, 0.25 * g));
        if step > 0 && step % 3 == 0 {
            // Half of the six kept weights are pruned.
            let sizes: Vec<f32> = before.iter().map(|w| w.abs()).collect();
            let retained = largest(&sizes, mask.iter().copied(), 3);
            let open = (0..N).filter(|index| !retained.contains(index));
            let entering = largest(&mean.map(f32::abs), open, 3);
            let mut wanted = [retained, entering].concat();
            wanted.sort_unstable();
            mask = wanted;
        } else if step == 0 {
            mask = kept(&run.masks()[0]);
            assert_eq!(mask.len(), 6);
        }
        assert_eq!(kept(&run.masks()[0]), mask, "step {step}");
        let weights = run.weights().swap_remove(0);
        let velocity = run.velocity().swap_remove(0);
        let is_at_rest = |&i: &usize| weights[i] == 0.0 && velocity[i] == 0.0;
        assert!((0..N).filter(|i| !mask.contains(i)).all(|i| is_at_rest(&i)), "step {step}");
    }
}

#[test]
fn movement_keeps_the_weights_that_have_moved_away_from_0() {
    let sets = ["prune.method=movement", "prune.sparsity=0.5", "prune.schedule=one-shot"];
    let sets = [&sets[..], &["prune.begin=0.25"]].concat();
    let mut run = small(&sets, 20);
    let mut sums = [0.0f32; N];
    for step in 0..15 {
        let (before, slopes) = (run.weights().swap_remove(0), slopes(step));
        run.step(step, std::slice::from_ref(&slopes)).unwrap();
        let mask = kept(&run.masks()[0]);
        match step {
            0..5 => assert_eq!(mask.len(), N),
            // By the gradients before this step.
            _ => assert_eq!(mask, largest(&sums, 0..N, 6), "step {step}"),
        }
        // The scores of pruned weights change, too: they use the dense weights and the full gradients.
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = before[i].mul_add(-slopes[i], *sum);
        }
    }
}

#[test]
fn fisher_keeps_the_largest_by_weight_and_average_square() {
    let sets = ["prune.method=gmp", "prune.sparsity=0.5", "prune.criterion=\"fisher:0.75\""];
    let schedule = ["prune.schedule=one-shot", "prune.begin=0.25"];
    // Pruned weights learn by half of their gradient; the criterion uses all of it.
    let learning = ["prune.refresh_every=1", "prune.gradient=\"0.5\""];
    let mut run = small(&[&sets[..], &schedule, &learning].concat(), 20);
    let mut squares = [0.0f32; N];
    let mut velocity = [0.0f32; N];
    for step in 0..15 {
        let (before, slopes) = (run.weights().swap_remove(0), slopes(step));
        run.step(step, std::slice::from_ref(&slopes)).unwrap();
        let mask = kept(&run.masks()[0]);
        match step {
            0..5 => assert_eq!(mask.len(), N),
            _ => {
                let scores: Vec<f32> =
                    before.iter().zip(&squares).map(|(w, v)| w.abs() * v.sqrt()).collect();
                assert_eq!(mask, largest(&scores, 0..N, 6), "step {step}");
            }
        }
        for i in 0..N {
            squares[i] = 0.75f32.mul_add(squares[i], 0.25 * (slopes[i] * slopes[i]));
            let share = if mask.contains(&i) { 1.0 } else { 0.5 };
            velocity[i] = 0.5f32.mul_add(velocity[i], share * slopes[i]);
        }
        assert_eq!(run.velocity()[0], velocity, "step {step}");
    }
}

#[test]
fn accumulating_criteria_are_rejected_where_they_have_nothing_to_accumulate() {
    for (sets, parts) in [
        (
            ["prune.method=movement", "prune.schedule=one-shot", "seed=0"],
            ["prune.criterion is movement", "prune.schedule is one-shot"],
        ),
        (
            ["prune.method=movement", "prune.pruned_gradient=\"live:1\"", "prune.gradient=\"1\""],
            ["prune.criterion is movement", "prune.pruned_gradient is live:1"],
        ),
        (
            ["prune.method=snfs", "prune.begin_by=movement", "prune.sparsity=0.9"],
            ["prune.begin_by is movement", "prune.renewal is swap"],
        ),
        (
            ["prune.method=gmp", "prune.criterion=\"normalised:movement\"", "prune.begin=0.1"],
            ["prune.criterion `normalised:movement`", "use movement"],
        ),
    ] {
        let begin = match sets[1].contains("one-shot") {
            true => vec!["prune.begin=0"],
            false => Vec::new(),
        };
        let resolved = resolve(&[&sets[..], &begin].concat()).map(drop);
        let error = resolved.expect_err(sets[1]).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{sets:?}: {error}");
    }
    let fisher = ["prune.method=gmp", "prune.criterion=\"fisher:0.9\"", "prune.begin=0.1"];
    assert!(resolve(&fisher).is_ok());
    let error = resolve(&["prune.criterion=\"fisher:1\""]).map(drop).unwrap_err().to_string();
    assert!(error.contains("fisher:BETA with BETA from 0 to below 1"), "{error}");
}
