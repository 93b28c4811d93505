//! Methods equal their papers, as `testdata/methods/make.py` writes them down: every kept weight, value and velocity.

use super::{Small, layers, resolve};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    sets: Vec<String>,
    total: u64,
    layers: Vec<Layer>,
    /// The gradient in each pruned weight of each layer, step by step.
    slopes: Vec<Vec<Vec<f32>>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Layer {
    name: String,
    shape: [usize; 2],
    weights: Vec<f32>,
}

/// What a step ends with.
#[derive(Deserialize)]
struct Step {
    kept: Vec<Vec<usize>>,
    weights: Vec<Vec<f32>>,
    velocity: Vec<Vec<f32>>,
    skipped: bool,
}

#[test]
fn methods_equal_their_reference_values_to_the_bit() -> anyhow::Result<()> {
    // The values are no part of the package.
    let values = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/methods/methods.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(values)?)?;
    let names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
    assert_eq!(
        names,
        [
            "gmp",
            "random",
            "set",
            "rigl",
            "granet",
            "mest",
            "snip",
            "sr-ste",
            "top-kast",
            "mest, soft bound",
            "rigl, begun",
            "rigl, learning rate",
            "static"
        ]
    );
    for case in &cases {
        let of: Vec<_> = case.layers.iter().map(|l| (&*l.name, l.shape, &l.weights[..])).collect();
        let mut run = Small::new(&resolve(&case.sets)?, layers(&of)?, case.total)?;
        assert_eq!(case.steps.len() as u64, case.total, "{}", case.name);
        for (step, (slopes, wanted)) in case.slopes.iter().zip(&case.steps).enumerate() {
            let changed = run.step(step as u64, slopes)?;
            let place = format!("step {step} of {}", case.name);
            let kept: Vec<Vec<usize>> = run.masks().iter().map(|m| m.kept().collect()).collect();
            assert_eq!(kept, wanted.kept, "{place}");
            assert_eq!(changed.is_skipped, wanted.skipped, "{place}");
            assert_eq!(run.weights(), wanted.weights, "{place}");
            assert_eq!(run.velocity(), wanted.velocity, "{place}");
        }
    }
    Ok(())
}
