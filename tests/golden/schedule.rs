//! Golden tests of the sparsity schedule, the learning-rate schedule and Feather's rule for θ.

use crate::check::{Check, sum};
use crate::reader::{Fields, Folder, real};
use serde_json::Value;
use taper::core::{Sparsity, Step};
use taper::scale::{FeatherRule, GradientScale, Now, PrunedGrad};
use taper::schedule::{Curve, Ramp, SparsitySchedule};
use taper::train::{Cosine, LearningRate};

const TOLERANCE: f64 = 1e-12;

/// Pairs of index and value of an array. The JSON holds the whole array in `whole`, or some of its pairs in `samples`.
fn points(row: &Value, whole: &str, samples: &str) -> Vec<(u64, f64)> {
    match row.get(whole) {
        Some(values) => (0..).zip(values.as_array().expect("a list").iter().map(real)).collect(),
        None => {
            let pair = |pair: &Value| (pair[0].as_u64().expect("an index"), real(&pair[1]));
            row.list(samples).iter().map(pair).collect()
        }
    }
}

fn theta(target: Sparsity) -> PrunedGrad {
    FeatherRule.at(&Now { achieved: Sparsity::DENSE, target, progress: 0.0 })
}

fn sparsity(value: f64) -> Sparsity {
    Sparsity::new(value).expect("a sparsity")
}

#[test]
fn golden_sparsity_schedule_and_theta_rule() {
    let json = Folder::of_tests().json("schedule");
    let mut check = Check::new("schedule");
    for row in json.list("sparsity") {
        let (rate, begin, end) =
            (row.real("final_rate"), row.count("t1_steps"), row.count("t2_steps"));
        let (per_epoch, total) =
            (row.count("nbatches"), row.count("nbatches") * row.count("epochs"));
        let name = format!(
            "rate {rate}, {per_epoch} x {}, t1 {}",
            row.count("epochs"),
            row.count("t1_epochs")
        );
        check.equal("steps", format_args!("{name}"), total, row.count("total_steps"));
        check.equal(
            "first step",
            format_args!("{name}"),
            row.count("t1_epochs") * per_epoch,
            begin,
        );
        check.equal("last step", format_args!("{name}"), total / 2, end);

        let ramp = Ramp::new(Curve::Cubic, Step(begin), Step(end), sparsity(rate));
        let len = row.count("array_len");
        let formula = begin + end.saturating_sub(begin) + total - end;
        check.equal("length of the array", format_args!("{name}"), formula, len);
        for (i, want) in points(row, "values", "samples") {
            let got = ramp.sparsity(Step(i)).get();
            check.within("sparsity", format_args!("{name}, step {i}"), got, want, TOLERANCE);
            if begin == 0 {
                let feather = Ramp::feather(sparsity(rate), total).sparsity(Step(i)).get();
                check.within(
                    "sparsity",
                    format_args!("{name}, step {i}, feather"),
                    feather,
                    want,
                    TOLERANCE,
                );
            }
        }
        let sum = sum((0..len).map(|i| ramp.sparsity(Step(i)).get()));
        // The tolerance of each term, times the number of terms.
        check.within(
            "sum of sparsities",
            format_args!("{name}"),
            sum,
            row.real("sum"),
            TOLERANCE * len as f64,
        );
        let want = PrunedGrad::uniform(row.real("theta") as f32);
        check.equal("theta", format_args!("{name}"), theta(sparsity(rate)), want);
    }
    for pair in json.list("theta_of_final_rate") {
        let (rate, want) = (real(&pair[0]), real(&pair[1]));
        let want = PrunedGrad::uniform(want as f32);
        check.equal("theta", format_args!("final rate {rate}"), theta(sparsity(rate)), want);
    }
    check.finish();
}

#[test]
fn golden_learning_rate() {
    let json = Folder::of_tests().json("schedule");
    let mut check = Check::new("learning rate");
    for row in json.list("cosine_lr") {
        let (lr, total_steps) = (row.real("lr0"), row.count("nbatches") * row.count("epochs"));
        let name = format!("lr {lr}, {} x {}", row.count("nbatches"), row.count("epochs"));
        let cosine = Cosine { lr, total_steps };
        for (i, want) in points(row, "used", "used_samples") {
            check.within("rate", format_args!("{name}, step {i}"), cosine.at(i), want, TOLERANCE);
        }
        let after = row.real("lr_after_last_step");
        check.within(
            "rate",
            format_args!("{name}, after the end"),
            cosine.at(total_steps),
            after,
            TOLERANCE,
        );
        let sum = sum((0..total_steps).map(|i| cosine.at(i)));
        let tolerance = TOLERANCE * total_steps as f64;
        check.within("sum of rates", format_args!("{name}"), sum, row.real("sum_used"), tolerance);
    }
    check.finish();
}
