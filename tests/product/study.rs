//! `taper schedule plot` and `taper study significance`.

use crate::support;
use crate::support::{Folder, bytes, json, refuse, succeed};
use serde_json::Value;

const ADAPTIVE: [&str; 8] = [
    "--set",
    "prune.adapt=\"linear:2\"",
    "--set",
    "prune.adapt_window=7",
    "--set",
    "prune.adapt_signal=\"jaccard\"",
    "--set",
    "prune.adapt_deadline=0.8",
];

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

#[test]
fn the_plot_of_a_recorded_run_equals_its_sparsities() {
    let folder = Folder::new();
    let out = folder.text("run");
    let train =
        ["train", "--quiet", "--mask-trace", "--sparsity", "0.95", "--epochs", "6", "--out", &out];
    let limit = ["--set", "train.limit=480"];
    succeed(&[&train[..], &ADAPTIVE, &limit].concat());
    let steps = String::from_utf8(bytes(&folder.path("run/steps.jsonl"))).expect("text");
    let went: Vec<f64> = steps
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|step| step["sparsity_target"].as_f64().expect("a sparsity"))
        .collect();
    let trace = folder.text("run/masks.csv");
    let plot = ["schedule", "plot", "--sparsity", "0.95", "--json"];
    let drawn = |more: &[&str]| {
        let said = succeed(&[&plot[..], &ADAPTIVE, more].concat());
        numbers(&serde_json::from_str::<Value>(&said.out).expect("JSON")["sparsity"])
    };
    // The run does not end with a complete window.
    assert_eq!(went.len() % 7, 6);
    assert_eq!(drawn(&["--trace", &trace]), went);
    // A trace whose last update is before the last step: the run decides the number of steps.
    let lines = String::from_utf8(bytes(&folder.path("run/masks.csv"))).expect("text");
    let n_lines = lines.lines().count();
    let fewer: Vec<&str> = lines.lines().take(n_lines - 9).chain([""]).collect();
    folder.write("run/masks.csv", fewer.join("\n"));
    assert_eq!(drawn(&["--trace", &trace]).len(), went.len());
    let plain = [&plot[..4], &["--trace", &trace]].concat();
    assert!(succeed(&plain).err.contains("this schedule is not adaptive"));
    assert_ne!(drawn(&["--steps", "90"]), went, "the schedule of that run was not adapted");
}

#[test]
fn a_schedule_is_plotted_as_text_and_svg() {
    let folder = Folder::new();
    let svg = folder.text("schedule.svg");
    let said = succeed(&[
        "schedule",
        "plot",
        "--sparsity",
        "0.98",
        "--set",
        "prune.gradient=\"cosine:0.5\"",
        "--set",
        "prune.adapt=\"reciprocal\"",
        "--set",
        "prune.adapt_window=20",
        "--set",
        "prune.adapt_deadline=0.9",
        "--entered",
        "0.01",
        "0.5",
        "--svg",
        &svg,
    ]);
    assert!(said.out.contains("without adaptation"), "{}", said.out);
    assert!(said.out.lines().filter(|line| line.contains('\u{2800}')).count() > 10, "{}", said.out);
    let drawn = std::fs::read_to_string(&svg).expect("a file");
    for words in ["<svg", "Sparsity rises to 98.0000 %", "the scale changes from 1 to 0.5", "Step"]
    {
        assert!(drawn.contains(words), "{words}");
    }
    // A constant fraction of new weights equals its own reference and changes nothing. A rising one slows the schedule.
    let values = |entered: &[&str]| {
        let plot = ["schedule", "plot", "--json", "--set", "prune.adapt=\"gate:1.5\"", "--set"];
        let window = ["prune.adapt_window=20", "--set", "prune.adapt_deadline=0.9", "--set"];
        let said = succeed(&[&plot[..], &window, &["prune.end=0.8"], entered].concat());
        numbers(&serde_json::from_str::<Value>(&said.out).expect("JSON")["sparsity"])
    };
    assert_eq!(values(&["--entered", "0.1"]), values(&[]));
    let slowed = values(&["--entered", "0.01", "0.5"]);
    assert!(slowed[700] < values(&[])[700]);
    assert_eq!(slowed[900], 0.9, "the deadline");
}

#[test]
fn invalid_plots_and_studies_are_rejected() {
    let folder = Folder::new();
    refuse(&["schedule", "plot", "--set", "prune.method=dense"], 2, &["has no schedule"]);
    refuse(&["schedule", "plot", "--entered", "2"], 2, &["--entered is 2", "[0, 1]"]);
    let other = folder.write("other.csv", "a,b\n1,2\n");
    refuse(&["schedule", "plot", "--trace", &other], 1, &["other.csv", "--mask-trace"]);
    refuse(&["study", "significance", "--shares", "0,1.5"], 2, &["--shares has 1.5", "[0, 1]"]);
    let far = folder.write(
        "far.csv",
        "step,n_weights,n_before,n_kept,n_entered,n_left,instability,told_before,told_kept,told_entered,told_left\n\
         18446744073709551615,9,9,9,0,0,0,,,,\n",
    );
    refuse(&["schedule", "plot", "--trace", &far], 1, &["far.csv", "outside 1 to 10000000"]);
    let plain = folder.write(
        "plain.csv",
        "step,n_weights,n_before,n_kept,n_entered,n_left,instability,told_before,told_kept,told_entered,told_left\n\
         0,9,9,9,0,0,0,,,,\n",
    );
    let plot = ["schedule", "plot", "--trace", &plain, "--set", "prune.adapt=\"reciprocal\""];
    refuse(&plot, 2, &["plain.csv", "changes over 1 steps", "100 steps apart", "--entered"]);
    // The trace has changes from one step to the next.
    succeed(&[&plot[..], &["--set", "prune.adapt_window=1"]].concat());
    let learned = ["schedule", "plot", "--set", "prune.method=str"];
    refuse(&learned, 2, &["learned thresholds", "no schedule to plot"]);
    let study = |set| ["study", "significance", "--set", set];
    refuse(&study("prune.drop=\"random:0.5\""), 2, &["pass --rules and --shares instead"]);
    refuse(&study("prune.probes=9"), 2, &["--set prune.probes=9", "pass --probes instead"]);
    refuse(&study("prune={ drop = \"random:0.5\" }"), 2, &["pass --rules and --shares instead"]);
    let twice = ["train", "--sparsity", "0.9", "--set", "prune={ sparsity = 0.5 }"];
    refuse(&twice, 2, &["--sparsity and --set prune={ sparsity = 0.5 } set the same key"]);
    refuse(&study("train.beta1=0.5"), 2, &["train.beta1 applies only to adamw"]);
    refuse(&["study", "significance", "--method", "dense"], 2, &["`dense` prunes nothing"]);
    refuse(&["study", "significance", "--rules", "oldest"], 2, &["`oldest`", "smallest, longest"]);
}

#[test]
fn settings_of_drops_apply_to_the_runs_of_a_study_that_drop_weights() {
    let folder = Folder::new();
    let own = folder.write("own.toml", "[prune]\ndrop_begin = 0.25\n");
    let out = folder.text("study");
    let study = ["study", "significance", "--max-steps", "4", "--set", "train.limit=64", "--quiet"];
    let few = ["--shares", "0,1", "--seeds", "1", "--timed-steps", "0", "--out", &out, "--force"];
    succeed(&[&study[..], &few, &[&own]].concat());
    succeed(&[&study[..], &few, &["--set", "prune.drop_begin=0.5"]].concat());
    let recipe = |run: &str| {
        let run: Value = support::json(&folder.path(&format!("study/runs/{run}/run.json")));
        run["recipe"]["prune"].clone()
    };
    assert_eq!(recipe("smallest-1-seed0")["drop_begin"], 0.5);
    assert_eq!(recipe("none-0-seed0")["drop"], "none");
    // Seeds count from that of the experiment, however it is given.
    succeed(
        &[&study[..], &few, &["--set", "seed=5", "--set", "prune={ drop_begin = 0.5 }"]].concat(),
    );
    assert_eq!(recipe("smallest-1-seed5")["drop_begin"], 0.5);
}

#[test]
fn the_study_of_significance_follows_weights_and_drops_fractions_of_them() {
    let folder = Folder::new();
    let out = folder.text("study");
    let study = [
        "study",
        "significance",
        "--epochs",
        "4",
        "--sparsity",
        "0.95",
        "--set",
        "train.limit=480",
        "--shares",
        "0,0.5,1",
        "--rules",
        "smallest,random",
        "--seeds",
        "2",
        "--probes",
        "2",
        "--timed-steps",
        "1",
        "--threads",
        "2",
        "--out",
        &out,
    ];
    let said = succeed(&study);
    assert!(
        said.out.contains("| smallest | 50 % |") && said.out.contains("Knee of random"),
        "{}",
        said.out
    );
    let shares = std::fs::read_to_string(folder.path("study/shares.csv")).expect("a file");
    let rows: Vec<Vec<&str>> = shares.lines().skip(1).map(|l| l.split(',').collect()).collect();
    // Five settings with two seeds each: no drops, and two fractions by two rules.
    assert_eq!(rows.len(), 10);
    for row in &rows {
        let number = |i: usize| row[i].parse::<f64>().expect("a number");
        let result = json(
            &folder.path(&format!("study/runs/{}-{}-seed{}/result.json", row[0], row[1], row[2])),
        );
        assert_eq!(Some(number(3)), result["test_accuracy"].as_f64());
        let (n, kept) = (result["n_prunable"].as_f64(), result["n_kept"].as_f64());
        let (n, kept) = (n.expect("a count"), kept.expect("a count"));
        // In the last epoch the counts are final: kept weights, and pruned ones that are not dropped.
        let live = 1.0 - number(1) * (1.0 - kept / n);
        assert!((number(4) - live).abs() < 1e-4, "{row:?}: {live}");
        // Only steps of the first seed are timed: the time does not depend on the seed.
        assert_eq!(
            row[5].parse::<f64>().is_ok_and(|seconds| seconds > 0.0),
            row[2] == "0",
            "{row:?}"
        );
    }
    let fates = std::fs::read_to_string(folder.path("study/fates.csv")).expect("a file");
    let of = |step: &str| -> u64 {
        let rows = fates.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>());
        rows.filter(|row| row[0] == step).map(|row| row[3].parse::<u64>().expect("a count")).sum()
    };
    // 60 steps: probes start at steps 20 and 40. From step 30 on, 95 % of 23,824 weights are pruned, in both seeds.
    assert!(of("20") > 0 && of("20") < of("40"));
    assert_eq!(of("40"), 2 * (23_824 - 1_191));
    assert!(
        std::fs::read_to_string(folder.path("study/significance.svg"))
            .expect("a file")
            .contains("<svg")
    );
    let manifest = json(&folder.path("study/manifest.json"));
    for key in ["date", "command", "commit", "machine", "versions", "run", "study"] {
        assert!(!manifest[key].is_null(), "{key} in {manifest}");
    }
    // Repeated fractions are neither trained nor counted twice.
    let records = || bytes(&folder.path("study/runs/random-1-seed1/result.json"));
    let before = records();
    let mut again = study;
    again[9] = "0,0.5,1,0.5,0";
    succeed(&again);
    assert!(records() == before);
    let counted = std::fs::read_to_string(folder.path("study/shares.csv")).expect("a file");
    assert_eq!(counted.lines().count(), 11);

    // Another study replaces the results only with --force, and reuses runs with the same recipe.
    let mut other = study;
    other[9] = "0,1";
    let refused = ["contains another study", "study.shares was [0.0,0.5,1.0] and is now [0.0,1.0]"];
    refuse(&other, 2, &refused);
    refuse(&[&study[..], &["--seed", "1"]].concat(), 2, &["seed was 0 and is now 1", "--force"]);
    assert_eq!(bytes(&folder.path("study/shares.csv")), counted.as_bytes());
    succeed(&[&other[..], &["--force"]].concat());
    assert!(records() == before);
    let counted = std::fs::read_to_string(folder.path("study/shares.csv")).expect("a file");
    assert_eq!(counted.lines().count(), 7);
}

#[test]
fn a_study_replaces_only_files_of_studies() {
    let folder = Folder::new();
    let out = folder.text("mine");
    std::fs::create_dir(&out).expect("a folder");
    let file = folder.write("mine/summary.md", "mine");
    for more in [&[][..], &["--force"]] {
        let study = ["study", "significance", "--out", &out];
        refuse(&[&study[..], more].concat(), 2, &["summary.md exists", "no manifest.json"]);
    }
    assert_eq!(bytes(file.as_ref()), b"mine");
    assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 1, "a run was started");
}
