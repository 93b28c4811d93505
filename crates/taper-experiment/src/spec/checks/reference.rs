//! Compares methods with their papers, as `testdata/methods/make.py` implements them: masks, values, thresholds and
//! velocities.

use super::{Small, layers, resolve};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    sets: Vec<String>,
    total: u64,
    layers: Vec<Layer>,
    /// The gradient with respect to each weight after pruning, by step and layer.
    slopes: Vec<Vec<Vec<f32>>>,
    steps: Vec<Step>,
    /// Maximum error of weights and velocities, relative to the layer's largest value; 0 if f32 arithmetic is exact.
    within: f64,
    /// The same for values and thresholds.
    values_within: f64,
}

#[derive(Deserialize)]
struct Layer {
    name: String,
    shape: Vec<usize>,
    weights: Vec<f32>,
}

/// The expected state after a step.
#[derive(Deserialize)]
struct Step {
    kept: Vec<Vec<usize>>,
    weights: Vec<Vec<f64>>,
    velocity: Vec<Vec<f64>>,
    skipped: bool,
    /// Values of kept weights in the forward pass, if they differ from the weights; 0 for pruned ones.
    values: Option<Vec<Vec<f64>>>,
    /// The threshold of each layer.
    cuts: Option<Vec<f64>>,
}

/// Compares the numbers of each layer; the error is relative to the layer's largest. With `within` = 0 they must be
/// equal.
fn check(got: &[Vec<f32>], wanted: &[Vec<f64>], within: f64, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert_eq!(got.len(), wanted.len(), "{what}");
        let largest = wanted.iter().fold(0.0f64, |most, want| most.max(want.abs()));
        for (&got, want) in got.iter().zip(wanted) {
            let error = (f64::from(got) - want).abs();
            assert!(error <= within * largest, "{what}: {got} for {want}");
        }
    }
}

#[test]
fn methods_equal_their_reference_values() -> anyhow::Result<()> {
    // The reference values are not part of the package.
    let values = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/methods/methods.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(values)?)?;
    let names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
    let chosen = ["gmp", "random", "set", "rigl", "granet", "mest", "snip", "sr-ste", "top-kast"];
    let others = ["ac-dc", "filter", "ste", "feather", "feather", "st-3", "st-3-sigma"];
    let learned = ["str", "spartan", "powerpropagation"];
    let swapped = ["mest, soft bound", "rigl, begun", "rigl, learning rate", "static"];
    assert_eq!(names, [&chosen[..], &others, &learned, &swapped].concat());
    for case in &cases {
        let of: Vec<_> =
            case.layers.iter().map(|l| (&*l.name, &l.shape[..], &l.weights[..])).collect();
        let mut run = Small::new(&resolve(&case.sets)?, layers(&of)?, case.total)?;
        assert_eq!(case.steps.len() as u64, case.total, "{}", case.name);
        for (step, (slopes, wanted)) in case.slopes.iter().zip(&case.steps).enumerate() {
            let changed = run.step(step as u64, slopes)?;
            let place = format!("step {step} of {}", case.name);
            let kept: Vec<Vec<usize>> = run.masks().iter().map(|m| m.kept().collect()).collect();
            assert_eq!(kept, wanted.kept, "{place}");
            assert_eq!(changed.is_skipped, wanted.skipped, "{place}");
            if let Some(cuts) = &wanted.cuts {
                let found = [run.pruner.state().cuts];
                check(
                    &found,
                    std::slice::from_ref(cuts),
                    case.values_within,
                    &format!("thresholds of {place}"),
                );
            }
            if let Some(values) = &wanted.values {
                check(&run.used, values, case.values_within, &format!("values of {place}"));
            }
            check(&run.weights(), &wanted.weights, case.within, &format!("weights of {place}"));
            check(&run.velocity(), &wanted.velocity, case.within, &format!("velocity of {place}"));
        }
    }
    Ok(())
}
