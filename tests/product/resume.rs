//! Reproducibility: a run ends in the same bytes with any number of threads, after resuming, and after kills.
#![allow(clippy::disallowed_methods, reason = "only makes test inputs")]

use crate::support;
use crate::support::{Folder, bytes, json, refuse, run, succeed, taper};
use std::{
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A run of some seconds. It writes checkpoints so often that a kill can hit it while it writes one.
const SHORT: &[&str] = &[
    "train",
    "--epochs",
    "6",
    "--set",
    "seed=7",
    "--sparsity",
    "0.95",
    "--mask-trace",
    "--set",
    "train.limit=480",
    "--set",
    "train.checkpoint_every=3",
    "--set",
    "train.keep_best=true",
    "--quiet",
];

/// Files that must be bit-identical. `timing.csv` and `result.json` contain times, and `run.json` the machine.
const RECORDS: &[&str] = &[
    "pruned.safetensors",
    "metrics.csv",
    "steps.jsonl",
    "masks.csv",
    "checkpoints/best.safetensors",
    "pruned-best.safetensors",
];

fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = SHORT.to_vec();
    if more.contains(&"--sparsity") {
        args.drain(5..7);
    }
    args.extend(["--out", out].iter().chain(more));
    args
}

#[track_caller]
fn assert_same(one: &Path, two: &Path, why: &str) {
    let last = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder.join("checkpoints"))
            .expect("checkpoints")
            .map(|e| e.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        assert!(names.iter().all(|n| !n.starts_with('.')), "{why}: left over: {names:?}");
        names.pop().expect("a checkpoint")
    };
    assert_eq!(last(one), last(two), "{why}");
    let newest = format!("checkpoints/{}", last(one));
    for name in RECORDS.iter().copied().chain([newest.as_str()]) {
        let read = |folder: &Path| std::fs::read(folder.join(name)).ok();
        assert!(read(one) == read(two), "{why}: {name} differs");
        // Runs with learned thresholds have no best epoch.
        assert!(read(one).is_some() || name.contains("best"), "{why}: no {name}");
    }
    let without_clock = |folder: &Path| {
        let mut result = json(&folder.join("result.json"));
        for key in ["seconds", "images_per_second"] {
            result.as_object_mut().expect("an object").remove(key);
        }
        result
    };
    assert_eq!(without_clock(one), without_clock(two), "{why}");
}

#[test]
fn one_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let folder = Folder::new();
    let runs = [("one", "1"), ("two", "2"), ("four", "4")];
    for (name, threads) in runs {
        succeed(&args(&folder.text(name), &["--threads", threads]));
    }
    assert_same(&folder.path("one"), &folder.path("two"), "1 and 2 threads");
    assert_same(&folder.path("one"), &folder.path("four"), "1 and 4 threads");
    succeed(&args(&folder.text("other"), &["--set", "seed=8"]));
    let (one, other) =
        (folder.path("one/pruned.safetensors"), folder.path("other/pruned.safetensors"));
    assert!(bytes(&one) != bytes(&other), "another seed must give another network");
}

#[test]
fn resnet20_gives_the_same_bytes_with_any_number_of_threads() {
    let folder = Folder::new();
    let data = support::cifar_of_noise(&folder);
    for threads in ["1", "2", "3"] {
        let out = folder.text(threads);
        let run = [
            "train",
            "--quiet",
            "--model",
            "resnet20",
            "--data",
            &data,
            "--sparsity",
            "0.95",
            "--out",
            &out,
        ];
        succeed(
            &[&run[..], &["--batch-size", "24", "--max-steps", "3", "--threads", threads]].concat(),
        );
    }
    let of = |threads: &str| bytes(&folder.path(threads).join("pruned.safetensors"));
    assert!(of("1") == of("2") && of("1") == of("3"));
}

/// At each density, the kernels for the gradient of the input and for that of some weights are chosen separately.
#[test]
fn resnet20_is_trained_with_fewer_gradients_at_every_density_of_the_ramp() {
    let folder = Folder::new();
    let data = support::cifar_of_noise(&folder);
    for gradient in ["sampled:0.25", "live:0.1"] {
        for threads in ["1", "2"] {
            let out = folder.text(&format!("{gradient}-{threads}"));
            let set = format!("prune.pruned_gradient={gradient:?}");
            let run = ["train", "--quiet", "--model", "resnet20", "--data", &data, "--out", &out];
            let ramp = ["--sparsity", "0.98", "--set", "prune.end=0.9", "--set", &set];
            let short = ["--batch-size", "32", "--max-steps", "10", "--threads", threads];
            succeed(&[&run[..], &ramp, &short].concat());
        }
        let of = |n: &str| bytes(&folder.path(&format!("{gradient}-{n}/pruned.safetensors")));
        assert!(of("1") == of("2"), "{gradient}");
    }
}

#[test]
fn a_run_killed_twenty_times_ends_in_the_same_bytes_as_an_uninterrupted_one() {
    kill_and_resume(20, &[]);
}

/// An adaptive schedule; some checkpoints fall inside a window of it.
const ADAPTIVE: &[&str] = &[
    "--set",
    "prune.adapt=\"reciprocal\"",
    "--set",
    "prune.adapt_window=4",
    "--set",
    "prune.adapt_signal=\"jaccard\"",
    "--set",
    "prune.gradient=\"per-layer/cosine:0.5\"",
];

/// Permanent pruning in an order that depends on all earlier steps, and probes of pruned weights.
const DROPS: &[&str] = &[
    "--set",
    "prune.drop=\"longest:0.7\"",
    "--set",
    "prune.drop_schedule=\"linear\"",
    "--set",
    "prune.drop_end=0.8",
    "--set",
    "prune.dead_filters=\"unclipped\"",
    "--set",
    "prune.probes=4",
];

#[test]
fn an_adaptive_run_with_drops_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(8, &[ADAPTIVE, DROPS].concat());
    let fates = String::from_utf8(bytes(&folder.path("whole/significance.csv"))).expect("text");
    assert!(fates.lines().count() > 20, "{fates}");
    assert!(bytes(&folder.path("killed/significance.csv")) == fates.into_bytes());
    let result = json(&folder.path("whole/result.json"));
    let count = |key: &str| result[key].as_u64().expect("a count");
    let n_pruned = count("n_prunable") - count("n_kept");
    assert_eq!(count("n_dropped"), (0.7 * n_pruned as f64).floor() as u64);
}

/// Gradients of pruned weights in every fourth step only, and early stopping on held-out images.
const HELD_OUT: &[&str] = &[
    "--set",
    "prune.pruned_gradient=\"every:4\"",
    "--set",
    "train.clip_norm=0.5",
    "--set",
    "train.validation=0.2",
    "--set",
    "train.early_stop=2",
];

const RIGL: &[&str] = &["--set", "prune.method=\"rigl\"", "--set", "prune.refresh_every=3"];

#[test]
fn a_run_with_held_out_images_and_rare_gradients_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(6, HELD_OUT);
    let result = json(&folder.path("whole/result.json"));
    assert_eq!((&result["n_validation"], &result["chosen_on"]), (&96.into(), &"validation".into()));
}

/// AdamW with a learning-rate warm-up, and with permanent pruning, which removes weights from its moments.
const ADAMW: &[&str] = &[
    "--set",
    "train.optimizer=\"adamw\"",
    "--set",
    "train.ham=true",
    "--set",
    "train.ham_alpha=2.0",
    "--set",
    "train.schedule=\"step:0.1\"",
    "--set",
    "train.warmup_epochs=1.5",
    "--set",
    "prune.drop=\"smallest:0.5\"",
];

#[test]
fn a_run_of_another_optimizer_and_schedule_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(5, ADAMW);
    let train = &json(&folder.path("whole/run.json"))["recipe"]["train"];
    assert_eq!((&train["lr"], &train["weight_decay"]), (&0.001.into(), &0.01.into()));
    let steps = String::from_utf8(bytes(&folder.path("whole/steps.jsonl"))).expect("text");
    let rate = |line: &str| {
        let step: serde_json::Value = serde_json::from_str(line).expect("JSON");
        step["lr"].as_f64().expect("a rate")
    };
    let rates: Vec<f64> = steps.lines().map(rate).collect();
    // Six epochs of fifteen steps. The warm-up of 1.5 epochs takes 22.5 steps, rounded.
    assert_eq!((rates.len(), rates[22], rates[44]), (90, 1e-3, 1e-3));
    assert_eq!((rates[45], rates[67]), (1e-3 * 0.1, 1e-3 * 0.1 * 0.1));
    assert!(rates[..22].windows(2).all(|pair| pair[0] < pair[1]), "{rates:?}");
}

#[test]
fn a_run_that_prunes_and_regrows_by_gradient_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(4, RIGL);
    let result = json(&folder.path("whole/result.json"));
    assert!(result["sparsity"].as_f64() >= Some(0.89), "{result}");
}

/// New weights exceed the target density for a while, and start with non-zero values and momentum.
const SOFT: &[&str] = &[
    "--set",
    "prune.swap_bound=soft",
    "--set",
    "prune.grow_init=\"initial:10\"",
    "--set",
    "prune.grow_momentum=0.5",
];

#[test]
fn a_run_with_a_soft_bound_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(4, &[RIGL, SOFT].concat());
    let result = json(&folder.path("whole/result.json"));
    assert!(result["sparsity"].as_f64() >= Some(0.89), "{result}");
    let lines = String::from_utf8(bytes(&folder.path("whole/steps.jsonl"))).expect("text");
    let sparsity = |line: &str| {
        let step: serde_json::Value = serde_json::from_str(line).expect("JSON");
        step["sparsity_target"].as_f64().expect("a sparsity")
    };
    let found: Vec<f64> = lines.lines().map(sparsity).collect();
    let (last, least) = (found[found.len() - 1], found.iter().copied().fold(1.0, f64::min));
    assert!(least < last - 0.01 && found[0] == last, "{found:?}");
}

/// Kills and resumes a run of a method. Returns the target sparsity of each step.
fn sparsities(method: &str, n_kills: u32) -> Vec<f64> {
    let method = format!("prune.method=\"{method}\"");
    let folder = kill_and_resume(n_kills, &["--set", &method]);
    let result = json(&folder.path("whole/result.json"));
    assert!(result["sparsity"].as_f64() >= Some(0.949), "{result}");
    let lines = String::from_utf8(bytes(&folder.path("whole/steps.jsonl"))).expect("text");
    let sparsity = |line: &str| {
        let step: serde_json::Value = serde_json::from_str(line).expect("JSON");
        step["sparsity_target"].as_f64().expect("a sparsity")
    };
    lines.lines().map(sparsity).collect()
}

#[test]
fn runs_with_masks_from_initialisation_end_in_the_same_bytes_after_kills() {
    for method in ["grasp", "synflow"] {
        let found = sparsities(method, 3);
        assert!(found.len() == 90 && found.iter().all(|&s| s == 0.95), "{found:?}");
    }
}

#[test]
fn runs_with_accumulated_gradients_end_in_the_same_bytes_after_kills() {
    for method in ["snfs", "movement"] {
        let method = format!("prune.method={method:?}");
        kill_and_resume(3, &["--set", &method]);
    }
}

#[test]
fn a_run_of_phases_ends_in_the_same_bytes_after_kills() {
    let found = sparsities("ac-dc", 4);
    let phases: String = found.iter().map(|&s| if s == 0.0 { '.' } else { 'x' }).collect();
    // Ninety steps: four dense steps of warm-up, then phases of nine steps; the last dense phase ends before step 76.
    let wanted = [
        "....",
        "xxxxxxxxx.........",
        "xxxxxxxxx.........",
        "xxxxxxxxx.........",
        "xxxxxxxxx.........",
    ];
    let wanted = wanted.concat() + &"x".repeat(14);
    assert_eq!(phases, wanted);
    assert!(found.iter().all(|&s| s == 0.0 || s == 0.95), "{found:?}");
}

/// A soft mask, which is frozen after the third of six epochs.
const SPARTAN: &[&str] = &["--set", "prune.method=\"spartan\"", "--set", "prune.freeze=0.5"];

#[test]
fn a_run_with_a_frozen_soft_mask_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(5, SPARTAN);
    let result = json(&folder.path("whole/result.json"));
    assert_eq!(result["sparsity"].as_f64().map(|s| (s * 100.0).round()), Some(95.0), "{result}");
}

/// Learned thresholds, which determine the sparsity.
const STR: &[&str] = &[
    "--sparsity",
    "0",
    "--set",
    "prune.method=\"str\"",
    "--set",
    "prune.threshold=\"learned:-5:0.05\"",
    // keep_best needs epochs of the same sparsity.
    "--set",
    "train.keep_best=false",
];

#[test]
fn a_run_with_learned_thresholds_ends_in_the_same_bytes_after_kills() {
    let folder = kill_and_resume(5, STR);
    let result = json(&folder.path("whole/result.json"));
    assert!(result["sparsity"].as_f64().is_some_and(|s| s > 0.2 && s < 0.99), "{result}");
    let parts = ["prune.sparsity is 0.95", "leave prune.sparsity out", "train.weight_decay"];
    refuse(&args(&folder.text("none"), &STR[2..]), 2, &parts);
}

#[test]
fn dropping_no_weights_and_probing_change_no_bit() {
    let folder = Folder::new();
    succeed(&args(&folder.text("plain"), &[]));
    for (name, set) in [("none", "prune.drop=\"smallest:0\""), ("followed", "prune.probes=3")] {
        succeed(&args(&folder.text(name), &["--set", set]));
        let weights = |run: &str| weights(&folder.path(run).join("pruned.safetensors"));
        assert!(weights("plain") == weights(name), "{name}: weights");
        let record = |run: &str| bytes(&folder.path(run).join("steps.jsonl"));
        assert!(record("plain") == record(name), "{name}: steps");
    }
}

#[test]
fn dead_filters_are_counted_and_each_remedy_changes_the_run() {
    let folder = Folder::new();
    let mut found = Vec::new();
    for choice in ["reference", "silent", "unclipped"] {
        let set = format!("prune.dead_filters=\"{choice}\"");
        let out = folder.text(choice);
        // With a global threshold, whole layers die in such a short run, and layers before them get no gradient.
        let more = ["--set", &set, "--set", "prune.allocation=\"uniform\""];
        let mut args = args(&out, &more);
        args[5..7].clone_from_slice(&["--sparsity", "0.98"]);
        succeed(&args);
        let steps =
            String::from_utf8(bytes(&folder.path(choice).join("steps.jsonl"))).expect("text");
        let shares: Vec<f64> = steps
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .map(|step| step["dead_grad_share"].as_f64().expect("a share"))
            .collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{choice}: {shares:?}");
        let is_silent = shares.iter().all(|&share| share == 0.0);
        assert_eq!(is_silent, choice == "silent", "{choice}: {shares:?}");
        let result = json(&folder.path(choice).join("result.json"));
        assert!(result["n_dead_filters"].as_u64() > Some(0), "{choice}");
        found.push(weights(&folder.path(choice).join("pruned.safetensors")));
    }
    assert!(found[0] != found[1] && found[0] != found[2] && found[1] != found[2]);
}

fn kill_and_resume(n_kills: u32, more: &[&str]) -> Folder {
    let folder = Folder::new();
    succeed(&args(&folder.text("whole"), more));
    let (mut n_killed, mut n_resumed, out) = (0, 0, folder.text("killed"));
    let resume = [more, &["--resume"]].concat();
    let n_lines = |run: &str| {
        let text = std::fs::read_to_string(folder.path(run).join("steps.jsonl"));
        text.map_or(0, |text| text.lines().count())
    };
    let n_steps = n_lines("whole") as f64;
    // Starts of the killed run that were not from step 0.
    let resumed = || {
        let run = json(&folder.path("killed/run.json"));
        let segments = run["segments"].as_array().expect("a list");
        segments.iter().filter(|s| s["from_step"].as_u64() > Some(0)).count()
    };
    // The numbers of steps until it is killed again are spread by the golden ratio. If a kill comes too late, the run has
    // finished; its folder is then deleted and the run starts again.
    for i in 1..=6 * n_kills {
        if n_killed == n_kills {
            break;
        }
        let share = (f64::from(i) * 0.618_033_988_75).fract() * 0.9;
        let goal = n_lines("killed") as f64 + share * n_steps;
        let mut child: Child =
            taper(&args(&out, &resume)).stderr(Stdio::null()).spawn().expect("a child");
        while (n_lines("killed") as f64) < goal && child.try_wait().expect("a child").is_none() {
            sleep(Duration::from_millis(1));
        }
        if child.try_wait().expect("a child").is_none() {
            child.kill().expect("SIGKILL");
            n_killed += 1;
        }
        child.wait().expect("a child");
        if folder.path("killed/result.json").exists() {
            assert_same(&folder.path("whole"), &folder.path("killed"), "after kills");
            n_resumed += resumed();
            std::fs::remove_dir_all(folder.path("killed")).expect("a folder");
        }
    }
    assert_eq!(n_killed, n_kills);
    succeed(&args(&out, &resume));
    assert_same(&folder.path("whole"), &folder.path("killed"), "after all kills");
    n_resumed += resumed();
    assert!(n_resumed > 0, "each run began from the start");
    folder
}

/// The bytes of the tensors in a file, without its header, which holds the recipe.
fn weights(path: &Path) -> Vec<u8> {
    let file = bytes(path);
    let header = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    file[8 + header..].to_vec()
}

#[test]
fn an_adaptive_schedule_that_never_slows_and_a_constant_gradient_scale_change_no_bit() {
    let folder = Folder::new();
    succeed(&args(&folder.text("plain"), &[]));
    let neutral = ["--set", "prune.adapt=\"gate:1e9\"", "--set", "prune.adapt_window=1"];
    succeed(&args(&folder.text("clock"), &neutral));
    succeed(&args(&folder.text("scale"), &["--set", "prune.gradient=\"linear:1\""]));
    for name in ["clock", "scale"] {
        for record in ["metrics.csv", "masks.csv"] {
            let of = |run: &str| bytes(&folder.path(run).join(record));
            assert!(of("plain") == of(name), "{name}: {record}");
        }
        let weights = |run: &str| weights(&folder.path(run).join("pruned.safetensors"));
        assert!(weights("plain") == weights(name), "{name}: weights");
    }
}

#[test]
fn an_adaptive_schedule_slows_and_reaches_its_target_at_the_deadline() {
    let folder = Folder::new();
    // In so few steps no pruned weight becomes kept again; the signal `jaccard` also counts newly pruned weights.
    let more = ["adapt_deadline=0.8", "adapt_reference=0.1"].map(|set| format!("prune.{set}"));
    let more = more.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>();
    succeed(&args(&folder.text("run"), &[ADAPTIVE, &more].concat()));
    let lines = String::from_utf8(bytes(&folder.path("run/steps.jsonl"))).expect("text");
    let steps: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let clock = |t: usize| steps[t]["clock"].as_f64().expect("a clock");
    let slowest = (1..60).map(|t| clock(t) - clock(t - 1)).fold(f64::INFINITY, f64::min);
    assert!(slowest < 0.5, "the schedule does not slow down: {slowest}");
    // The first steps have no instability; some later values exceed the reference of 0.1.
    let found: Vec<f64> = steps.iter().filter_map(|step| step["instability"].as_f64()).collect();
    assert!(found.len() < steps.len() && found.iter().any(|&z| z > 0.1), "{found:?}");
    // 90 steps: the ramp ends at clock 45, and the deadline is step 72.
    for (t, step) in steps.iter().enumerate() {
        let sparsity = step["sparsity_target"].as_f64().expect("a sparsity");
        assert!((sparsity == 0.95) == (clock(t) >= 45.0), "step {t}: {sparsity}");
        assert!(t < 72 || sparsity == 0.95, "step {t}");
        assert!(t == 0 || clock(t) >= clock(t - 1), "step {t}");
    }
}

#[test]
fn a_run_that_stops_early_ends_in_the_same_epoch_after_a_kill_before_its_result() {
    let folder = Folder::new();
    let out = folder.text("run");
    let more = [
        "--epochs",
        "30",
        "--set",
        "train.early_stop=1",
        "--set",
        "prune.end=0.1",
        "--set",
        "train.limit=480",
    ];
    let mut args = vec!["train", "--quiet", "--resume", "--out", &out];
    args.extend(more);
    succeed(&args);
    let names = ["pruned.safetensors", "metrics.csv", "steps.jsonl"];
    let whole = names.map(|name| bytes(&folder.path("run").join(name)));
    let n_epochs = json(&folder.path("run/result.json"))["epochs"].as_u64().expect("a count");
    assert!(n_epochs < 30, "the run did not stop early");
    for name in ["result.json", "pruned.safetensors"] {
        std::fs::remove_file(folder.path("run").join(name)).expect("a file");
    }
    succeed(&args);
    assert!(names.map(|name| bytes(&folder.path("run").join(name))) == whole);
}

#[cfg(unix)]
#[test]
fn signals_end_a_run_after_the_step_and_print_how_to_resume() {
    let folder = Folder::new();
    succeed(&args(&folder.text("whole"), &[]));
    let experiment = folder.write("an experiment.toml", "");
    // Several signals: a cluster signals every process of a job, and the parent of a run forwards its own signal.
    for signals in [&["-INT"][..], &["-TERM"], &["-TERM", "-TERM", "-INT"]] {
        stop_and_resume(&folder, &experiment, signals);
    }
}

#[cfg(unix)]
fn stop_and_resume(folder: &Folder, experiment: &str, signals: &[&str]) {
    let name = format!("stopped here{}", signals.concat());
    let out = folder.text(&name);
    let child = taper(&args(&out, &["--", experiment])).stderr(Stdio::piped()).spawn();
    let child = child.expect("a child");
    let steps = folder.path(&name).join("steps.jsonl");
    let begun = Instant::now();
    while !std::fs::read_to_string(&steps).is_ok_and(|text| text.lines().count() > 5) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step was done");
        sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    for signal in signals {
        // The run may have ended after the first signal.
        let _ = std::process::Command::new("kill")
            .args([*signal, pid.as_str()])
            .status()
            .expect("kill");
    }
    let output = child.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let command = said.lines().last().expect("a command").trim();
    assert!(command.contains("--resume") && command.contains(&out), "{said}");
    let resumed = run(std::process::Command::new("sh").args(["-c", command]));
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert_same(&folder.path("whole"), &folder.path(&name), &name);
    let run = json(&folder.path(&name).join("run.json"));
    let segments = run["segments"].as_array().expect("a list");
    let begins: Vec<_> =
        segments.iter().map(|s| s["from_step"].as_u64().expect("a step")).collect();
    assert!(begins.len() == 2 && begins[0] == 0 && begins[1] > 5, "{begins:?}");
}

#[test]
fn settings_of_checkpoints_may_change_on_resuming() {
    let folder = Folder::new();
    succeed(&args(&folder.text("whole"), &["--set", "train.keep_last=99"]));
    let again = folder.path("again");
    std::fs::create_dir_all(again.join("checkpoints")).expect("a folder");
    for name in ["run.json", "checkpoints/step-00000042.safetensors"] {
        std::fs::copy(folder.path("whole").join(name), again.join(name)).expect("a copy");
    }
    // A damaged checkpoint of a later step does not replace those that the run writes.
    std::fs::write(again.join("checkpoints/step-00009000.safetensors"), "damaged").expect("writes");
    let kept = ["train.keep_last=1", "train.checkpoint_every=0", "train.keep_best=false"];
    let kept: Vec<&str> = kept.iter().flat_map(|set| ["--set", set]).collect();
    let again = again.display().to_string();
    let said = succeed(&args(&again, &[&kept[..], &["--resume"]].concat()));
    assert!(said.err.contains("has 42 steps without a mask trace"), "{}", said.err);
    assert!(!folder.path("again/masks.csv").exists(), "it would not be complete");
    let of = |run: &str| weights(&folder.path(run).join("pruned.safetensors"));
    assert!(of("whole") == of("again"));
    let left = std::fs::read_dir(folder.path("again/checkpoints")).expect("a folder");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    let is_damaged = |name: &&std::ffi::OsString| *name == "step-00009000.safetensors";
    assert_eq!((left.len(), left.iter().filter(is_damaged).count()), (2, 1), "{left:?}");
    let other = ["--set", "train.eval_every=2", "--resume"];
    crate::support::refuse(&args(&again, &other), 2, &["train.eval_every was 1 and is now 2"]);
}

#[cfg(unix)]
#[test]
fn a_run_under_nohup_continues_after_the_terminal_closes() {
    let folder = Folder::new();
    let out = folder.text("run");
    let taper = taper(&args(&out, &[]));
    let mut nohup = std::process::Command::new("sh");
    // Like nohup, but without its output file.
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(taper.get_program());
    let mut child = nohup.args(taper.get_args()).stderr(Stdio::null()).spawn().expect("a child");
    let begun = Instant::now();
    while !folder.path("run/steps.jsonl").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step was done");
        sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    let _ = std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(folder.path("run/result.json").exists());
}

#[test]
fn observers_change_no_number() {
    let folder = Folder::new();
    succeed(&args(
        &folder.text("watched"),
        &["--set", "train.tensorboard=true", "--set", "train.early_stop=100"],
    ));
    let out = folder.text("plain");
    let plain: Vec<&str> =
        SHORT.iter().copied().filter(|a| *a != "--mask-trace").chain(["--out", &out]).collect();
    succeed(&plain);
    let tensors = |name: &str| weights(&folder.path(name).join("pruned.safetensors"));
    assert!(tensors("watched") == tensors("plain"));
    for name in ["metrics.csv", "steps.jsonl"] {
        assert!(
            bytes(&folder.path("watched").join(name)) == bytes(&folder.path("plain").join(name)),
            "{name}"
        );
    }
    let events = std::fs::read_dir(folder.path("watched"))
        .expect("a folder")
        .filter(|e| {
            e.as_ref()
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .starts_with("events.out.tfevents.")
        })
        .count();
    assert_eq!(events, 1);
}

#[test]
fn kept_counts_follow_the_schedule_in_every_step() {
    let folder = Folder::new();
    succeed(&args(&folder.text("run"), &[]));
    let n = json(&folder.path("run/result.json"))["n_prunable"].as_u64().expect("a count");
    let lines = String::from_utf8(bytes(&folder.path("run/steps.jsonl"))).expect("text");
    let mut n_steps = 0;
    for line in lines.lines() {
        let step: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let t = step["step"].as_u64().expect("a step");
        assert_eq!(t, n_steps);
        // 6 epochs of 15 batches: the ramp ends at step 45.
        let ramp = if t >= 45 { 0.95 } else { 0.95 * (1.0 - (1.0 - t as f64 / 45.0).powi(3)) };
        assert!((step["sparsity_target"].as_f64().expect("a sparsity") - ramp).abs() < 1e-12);
        let kept = ((1.0 - ramp) * n as f64).round() as u64;
        assert_eq!(step["n_kept"].as_u64(), Some(kept), "step {t}");
        n_steps += 1;
    }
    assert_eq!(n_steps, 90);
}

#[test]
fn numbers_of_epochs_are_means_of_their_steps() {
    let folder = Folder::new();
    succeed(&args(&folder.text("run"), &["--set", "train.limit=456"]));
    let lines = String::from_utf8(bytes(&folder.path("run/steps.jsonl"))).expect("text");
    let steps: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // Ten classes: an untrained network has about this loss.
    let first = steps[0]["loss"].as_f64().expect("a loss");
    assert!((first - 10f64.ln()).abs() < 1.0, "{first}");
    let csv = std::fs::read_to_string(folder.path("run/metrics.csv")).expect("a file");
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().expect("a head");
    let rows: Vec<Vec<&str>> = rows.collect();
    // 6 epochs of 14 batches of 32 images and one of 8. The norm is a mean over steps.
    assert_eq!(rows.len(), 6);
    for (row, steps) in rows.iter().zip(steps.chunks(15)) {
        for (column, key) in
            [("train_loss", "loss"), ("train_accuracy", "accuracy"), ("grad_norm", "grad_norm")]
        {
            let at = head.iter().position(|name| *name == column).expect("a column");
            let found: f64 = row[at].parse().expect("a number");
            let n_images = |step: usize| match (key, step) {
                ("grad_norm", _) => 1.0,
                (_, 14) => 8.0,
                _ => 32.0,
            };
            let values = steps.iter().map(|s| s[key].as_f64().expect("a number"));
            let sum: f64 = values.enumerate().map(|(i, value)| n_images(i) * value).sum();
            let mean = sum / (0..15).map(n_images).sum::<f64>();
            assert!((found - mean).abs() < 1e-6 * mean, "{column}: {found}, not {mean}");
        }
    }
}

/// Runs the program with a file size limit, which acts like a full disk.
#[cfg(unix)]
fn on_a_full_disk(args: &[&str], bytes: u64) -> std::process::Command {
    let taper = taper(args);
    let mut command = std::process::Command::new("sh");
    // Without the trap, the kernel would kill the program by a signal.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 512), "sh"]);
    command.arg(taper.get_program()).args(taper.get_args());
    command
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_and_the_resumed_run_ends_in_the_same_bytes() {
    let folder = Folder::new();
    succeed(&args(&folder.text("whole"), &[]));
    let out = folder.text("full");
    let checkpoints = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder.path("full/checkpoints"));
        let paths = entries.into_iter().flatten().map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect()
    };
    let refused = |limit: u64| {
        let said = run(&mut on_a_full_disk(&args(&out, &["--resume"]), limit));
        assert_eq!(said.code, Some(4), "{}", said.err);
        let errors: Vec<&str> = said.err.lines().filter(|l| l.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains("cannot write"), "{}", said.err);
        assert!(errors[0].contains(&out), "the file is not named: {}", errors[0]);
        assert!(!folder.path("full/result.json").exists());
    };
    // Full from the start; then full in the middle of the run, with too little space for another checkpoint.
    refused(1024);
    let mut child =
        taper(&args(&out, &["--resume"])).stderr(Stdio::null()).spawn().expect("starts");
    while checkpoints().is_empty() && child.try_wait().expect("a child").is_none() {
        sleep(Duration::from_millis(5));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("a child");
    let before = checkpoints();
    assert!(
        !before.is_empty() && !folder.path("full/result.json").exists(),
        "the run was too fast"
    );
    refused(bytes(&before[0]).len() as u64 / 2);
    assert_eq!(checkpoints(), before, "existing checkpoints must stay");
    succeed(&args(&out, &["--resume"]));
    assert_same(&folder.path("whole"), &folder.path("full"), "after a full disk");
}
