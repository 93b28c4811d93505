//! Results for tests: a dense row and two sparse ones, three seeds, as `reproduce` would collect them.

use crate::bands::Band;
use crate::results::{
    CurveLine, FailedRun, LayerLine, Manifest, Results, RunLine, SCHEMA, StepLine,
};
use crate::suite::{Job, SuiteRow};
use std::path::{Path, PathBuf};
use taper_record::Machine;
use taper_record::results::{Made, ResultsKind, ToolVersions};

const N_PRUNABLE: u64 = 10_000;

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A job of ten epochs.
pub(crate) fn job(row: &str, sparsity: f64, seed: u64) -> Job {
    Job {
        key: format!("{row}-s{sparsity}-seed{seed}"),
        earlier_keys: Vec::new(),
        row: row.into(),
        sparsity: Some(sparsity),
        seed,
        experiment: "x.toml".into(),
        set_shared: Vec::new(),
        set: Vec::new(),
        data: None,
        epochs: Some(10),
        max_steps: None,
        recipe: serde_json::Value::Null,
    }
}

/// Valid results; `feather` has a band at 90 %.
pub(crate) fn results() -> Results {
    let rows = [
        row("dense", "Dense", &[]),
        row("gmp", "GMP <&>", &[0.9, 0.95]),
        row("feather", "Feather", &[0.9, 0.95]),
    ];
    results_of(&rows, &["conv1", "conv2", "fc"])
}

/// A row of results.
pub(crate) fn row(name: &str, label: &str, sparsities: &[f64]) -> SuiteRow {
    SuiteRow { name: name.into(), label: label.into(), sparsities: sparsities.to_vec() }
}

/// Valid results with these rows and layers.
pub(crate) fn results_of(rows: &[SuiteRow], layers: &[&str]) -> Results {
    let mut results = Results {
        manifest: manifest(rows.to_vec()),
        runs: Vec::new(),
        curves: Vec::new(),
        steps: Vec::new(),
        layers: Vec::new(),
        fates: Vec::new(),
    };
    for (index, row) in rows.iter().enumerate() {
        for target in row.targets() {
            for seed in 0..3 {
                let accuracy =
                    0.97 + 0.005 * index as f64 - 0.1 * target.unwrap_or(0.9) + 0.001 * seed as f64;
                add_run(&mut results, row, target, seed, accuracy, layers);
            }
        }
    }
    results
}

/// A failed run of `feather` at 95 %.
pub(crate) fn failed_run() -> FailedRun {
    FailedRun {
        key: "feather-s0.95-seed2-0123456789".into(),
        row: "feather".into(),
        sparsity: Some(0.95),
        seed: 2,
        reason: "exit code 1".into(),
        log: vec!["error: loss is not finite at step 7 <conv1>".into()],
    }
}

fn manifest(rows: Vec<SuiteRow>) -> Manifest {
    Manifest {
        schema: SCHEMA,
        kind: ResultsKind::Suite,
        suite: "quick".into(),
        title: "A test suite".into(),
        made: Made {
            date: "2025-03-04T05:06:07Z".into(),
            command: "cargo xtask reproduce".into(),
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            dirty: false,
            machine: Machine {
                os: "Some OS".into(),
                arch: "x86_64".into(),
                cpu: Some("Example CPU".into()),
                cores: Some(2),
                memory_bytes: Some(8 << 30),
                gpu: None,
            },
            versions: ToolVersions {
                rustc: Some("rustc 1.95.0".into()),
                taper: Some("0.1.0".into()),
                candle: Some("0.11.1".into()),
            },
        },
        seeds: 3,
        baseline: None,
        pooled_deviation: false,
        rows,
        bands: vec![Band {
            row: "feather".into(),
            sparsity: Some(0.9),
            accuracy_min: 0.85,
            accuracy_max: None,
            source: "our measurement".into(),
        }],
        failed: Vec::new(),
        machines: Vec::new(),
        taken: Vec::new(),
    }
}

fn add_run(
    results: &mut Results,
    row: &SuiteRow,
    target: Option<f64>,
    seed: u64,
    accuracy: f64,
    layers: &[&str],
) {
    let n_kept = (N_PRUNABLE as f64 * (1.0 - target.unwrap_or(0.0))).round() as u64;
    let sparsity = 1.0 - n_kept as f64 / N_PRUNABLE as f64;
    results.runs.push(RunLine {
        key: format!("{}-{}-seed{seed}", row.name, target.unwrap_or(0.0)),
        row: row.name.clone(),
        sparsity_target: target,
        seed,
        model: "digits-cnn".into(),
        data: "digits".into(),
        epochs: 4,
        steps: 400,
        test_accuracy: accuracy,
        test_loss: 0.2,
        train_loss: 0.1,
        sparsity,
        effective_sparsity: target.map(|_| sparsity + 0.001),
        n_params: N_PRUNABLE + 100,
        n_prunable: N_PRUNABLE,
        n_kept,
        macs_dense: 1_000_000,
        macs_sparse: 100 * n_kept,
        bytes_dense: 4 * N_PRUNABLE,
        bytes_file: 4 * n_kept + N_PRUNABLE / 8,
        seconds: 7.25,
        images_per_second: Some(1000.0),
        n_filters: Some(100),
        n_dead_filters: target.map(|_| 7),
        dead_grad_share: target.map(|_| 0.25),
        n_dropped: target.map(|_| 0),
        n_live: Some(N_PRUNABLE as f64),
        step_seconds: Some(0.1),
        drop: Some("none".into()),
        checkpoint: Some(format!("runs/{}-{seed}/pruned.safetensors", row.name)),
        quantile: Some("exact".into()),
        structure: None,
        renewal: None,
        commit: results.manifest.made.commit.clone(),
        dirty: Some(false),
    });
    for epoch in 0..4 {
        let done = (epoch + 1) as f64 / 4.0;
        results.curves.push(CurveLine {
            row: row.name.clone(),
            cell: target,
            seed,
            epoch,
            step: 100 * (epoch + 1),
            lr: Some(0.05 * (1.0 - done)),
            sparsity_target: Some(sparsity * done),
            sparsity: Some(sparsity * done),
            train_loss: Some(1.0 - 0.9 * done),
            train_accuracy: Some(accuracy * done),
            test_loss: Some(1.0 - 0.8 * done),
            test_accuracy: Some(accuracy * done),
        });
        if seed == 0 {
            results.steps.push(StepLine {
                row: row.name.clone(),
                cell: target,
                seed,
                step: 100 * epoch,
                sparsity_target: sparsity * done,
                sparsity: sparsity * done,
                entered: target.map(|_| 0.01 * (4 - epoch) as f64),
                clock: None,
            });
        }
    }
    for (i, &layer) in layers.iter().enumerate() {
        // The first and the second layer keep more than the others.
        let share = [0.5, 0.8].get(i).copied().unwrap_or(1.0);
        let kept = (1000.0 * (1.0 - sparsity * share)).round() as u64;
        results.layers.push(LayerLine {
            row: row.name.clone(),
            cell: target,
            seed,
            layer: layer.into(),
            kind: "conv".into(),
            shape: "10x10x10".into(),
            n_weights: 1000,
            n_kept: kept,
            sparsity: 1.0 - kept as f64 / 1000.0,
            macs_dense: 1000,
            macs_sparse: kept,
        });
    }
}
