//! `taper suite` from the command line. A script replaces the program that trains.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SUITE: &str = "title = 'Test'\nsparsities = [0.9, 0.95]\nseeds = 2\n\
    [[row]]\nname = 'dense'\nsparsities = []\n[[row]]\nname = 'feather'\n";

/// A folder with one suite, named quick.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = root.path().join("experiments/quick");
        fs::create_dir_all(&folder).expect("creates");
        for (name, text) in [
            ("suite", SUITE),
            ("dense", "[train]\nepochs = 2\n"),
            ("feather", "extends = 'dense.toml'\n"),
            ("bands", ""),
        ] {
            fs::write(folder.join(format!("{name}.toml")), text).expect("writes");
        }
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/support/fake-taper.sh");
        command.arg("suite").args(args).env("TAPER_BIN", fake);
        command.env("FAKE_CALLS", self.path("calls")).current_dir(self.0.path());
        command
    }

    fn reproduce(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let out = if args.contains(&"--out") { &[][..] } else { &["--out", "out"] };
        let args = [&["run"], out, args].concat();
        self.command(&args).envs(env.iter().copied()).output().expect("runs")
    }

    /// Number of calls of the fake `taper` so far.
    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn runs_are_made_once_and_all_files_are_written() {
    let repository = Project::new();
    let output = repository.reproduce(&[], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(repository.calls(), 6);
    for name in [
        "manifest.json",
        "runs.csv",
        "curves.csv",
        "steps.csv",
        "layers.csv",
        "summary.md",
        "report.html",
    ] {
        assert!(repository.path("out").join(name).is_file(), "{name}");
    }
    let runs = fs::read_to_string(repository.path("out/runs.csv")).expect("reads");
    assert_eq!(runs.lines().count(), 1 + 6);
    let steps = fs::read_to_string(repository.path("out/steps.csv")).expect("reads");
    assert!(steps.contains("feather,0.95,0,2,0.95,0.95,0.05,\n"), "10 of 200 entered: {steps}");
    assert!(steps.contains("feather,0.95,0,3,0.95,0.95,,\n"), "no refresh since: {steps}");
    // Each column has the number of its name.
    let line = |file: &str, begin: &str, nth: usize| -> Vec<(String, String)> {
        let text = fs::read_to_string(repository.path("out").join(file)).expect("reads");
        let mut lines = text.lines();
        let head: Vec<String> =
            lines.next().expect("a head").split(',').map(str::to_owned).collect();
        let line = lines.filter(|line| line.contains(begin)).nth(nth).expect("a line");
        head.into_iter().zip(line.split(',').map(str::to_owned)).collect()
    };
    let expect = |found: &[(String, String)], wanted: &[(&str, &str)]| {
        for (name, value) in wanted {
            let column = found.iter().find(|(column, _)| column == name);
            assert_eq!(column.map(|(_, found)| &**found), Some(*value), "{name}");
        }
    };
    let run = line("runs.csv", "feather-s0.95-seed1-", 0);
    expect(
        &run,
        &[
            ("row", "feather"),
            ("sparsity_target", "0.95"),
            ("seed", "1"),
            ("epochs", "2"),
            ("steps", "20"),
            ("test_accuracy", "0.91"),
            ("test_loss", "0.4"),
            ("train_loss", "0.5"),
            ("sparsity", "0.95"),
            ("effective_sparsity", "0.99"),
            ("n_params", "1010"),
            ("n_prunable", "1000"),
            ("n_kept", "50"),
            ("macs_dense", "3000"),
            ("macs_sparse", "300"),
            ("bytes_dense", "4040"),
            ("bytes_file", "4141"),
            ("seconds", "1.5"),
            // 16 images in a step, and 32 a second in the last epoch.
            ("step_seconds", "0.5"),
        ],
    );
    let curve = [
        ("epoch", "1"),
        ("step", "20"),
        ("lr", "0.0"),
        ("sparsity", "0.95"),
        ("train_loss", "0.5"),
        ("train_accuracy", "0.9"),
        ("test_loss", "0.4"),
        ("test_accuracy", "0.91"),
    ];
    expect(&line("curves.csv", "feather,0.95,1,", 1), &curve);
    let layer = [
        ("layer", "conv1"),
        ("shape", "10x10x10"),
        ("n_weights", "1000"),
        ("n_kept", "50"),
        ("macs_dense", "2000"),
        ("macs_sparse", "200"),
    ];
    expect(&line("layers.csv", "feather,0.95,1,", 0), &layer);
    let calls = fs::read_to_string(repository.path("calls")).expect("reads");
    assert!(
        calls.contains("train experiments/quick/feather.toml --sparsity 0.95 --seed 1 --out "),
        "{calls}"
    );
    assert!(calls.lines().all(|line| line.ends_with("--resume --quiet --mask-trace")), "{calls}");
    assert_eq!(calls.matches("--sparsity").count(), 4, "dense has none: {calls}");

    let again = repository.reproduce(&[], &[]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert_eq!(repository.calls(), 6, "finished runs are skipped");
    assert_eq!(fs::read_to_string(repository.path("out/runs.csv")).expect("reads"), runs);
}

#[test]
fn results_hold_steps_of_all_seeds_for_adaptive_schedules_only() {
    let repository = Project::new();
    let steps = |env: &[(&str, &str)]| {
        assert!(repository.reproduce(&[], env).status.success());
        fs::remove_dir_all(repository.path("runs")).expect("removes");
        fs::read_to_string(repository.path("out/steps.csv")).expect("reads")
    };
    assert!(!steps(&[]).contains("feather,0.9,1,"), "a fixed schedule is the same for each seed");
    let steps = steps(&[("FAKE_CLOCK", "*feather*")]);
    assert!(steps.contains("feather,0.9,1,2,0.9,0.9,0.05,1.0\n"), "{steps}");
    assert!(!steps.contains("dense,,1,"), "{steps}");
}

#[test]
fn the_report_is_made_again_from_the_results_alone() {
    let repository = Project::new();
    assert!(repository.reproduce(&[], &[]).status.success());
    let out = repository.path("out");
    let old = ["report.html", "summary.md"].map(|name| fs::read(out.join(name)).expect("reads"));
    for name in ["out/report.html", "out/summary.md"] {
        fs::remove_file(repository.path(name)).expect("removes");
    }
    fs::remove_dir_all(repository.path("experiments")).expect("removes");
    let output = repository.command(&["report", "out"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let new = || ["report.html", "summary.md"].map(|name| fs::read(out.join(name)).expect("reads"));
    assert!(new() == old);
    // After the runs are deleted, the report has no links to them.
    fs::remove_dir_all(repository.path("runs")).expect("removes");
    assert!(repository.command(&["report", "out"]).output().expect("runs").status.success());
    let page = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let [with, without] = [&old[0], &new()[0]].map(|bytes| page(bytes));
    assert!(with.contains("aria-label=\"Run of seed 1\"") && !without.contains("Run of seed 1"));
}

#[test]
fn a_failed_run_is_listed_with_its_log_and_made_again() {
    let repository = Project::new();
    let output = repository.reproduce(&[], &[("FAKE_FAIL", "*feather-s0.9-seed1-*")]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(3), "{shown}");
    assert!(
        shown.contains("failed run feather-s0.9-seed1-") && shown.contains("exit status: 1"),
        "{shown}"
    );
    assert!(shown.contains("    error: the loss is not finite at step 10"), "{shown}");
    assert_eq!(repository.calls(), 6, "the others go on");
    assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0));
    assert_eq!(repository.calls(), 7, "only the failed one is made again");
    // A run with a result is finished, however its process ended.
    let output = Project::new().reproduce(&[], &[("FAKE_LATE", "*feather-s0.9-seed1-*")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_killed_run_is_listed_and_resumed_by_the_next_reproduce() {
    let repository = Project::new();
    let kills = [("FAKE_KILL", "*feather-s0.9-seed1-*")];
    let output = repository.reproduce(&[], &kills);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(3), "{shown}");
    assert!(shown.contains("feather-s0.9-seed1-") && shown.contains("signal: 9"), "{shown}");
    assert_eq!(repository.calls(), 6, "the others go on");
    let list = text(&repository.reproduce(&["--dry-run"], &[]));
    assert!(list.contains("to resume  feather-s0.9-seed1-"), "{list}");
    let output = repository.reproduce(&[], &kills);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(repository.calls(), 7);
}

#[test]
fn on_a_full_disk_old_results_stay_whole() {
    let repository = Project::new();
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
    let out = repository.path("out");
    let files = || -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(&out).expect("a folder").map(|e| e.expect("an entry").path());
        entries.map(|path| (path.clone(), fs::read(path).expect("reads"))).collect()
    };
    let before = files();
    // With a second seed, every file would be longer.
    let elsewhere = repository.command(&["run", "--out", "elsewhere"]).output();
    assert!(elsewhere.expect("runs").status.success());
    let length = |name: &str| {
        let path = repository.path("elsewhere").join(name);
        fs::metadata(path).expect("a file").len()
    };
    let longest =
        ["runs.csv", "curves.csv", "steps.csv", "layers.csv", "manifest.json"].map(length);
    let longest = longest.into_iter().max().expect("files");
    // Limits of the file size in blocks of 512 bytes: one is too small for every file, one only for the longest. With
    // the trap, a write beyond the limit is an error and does not kill the program.
    let limits = [1, (longest - 1) / 512];
    for limit in limits {
        let command = repository.command(&["run", "--out", "out"]);
        let mut full = Command::new("sh");
        full.args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\""), "sh"]);
        full.arg(command.get_program()).args(command.get_args());
        full.current_dir(repository.0.path());
        full.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let output = full.output().expect("runs");
        assert_eq!(output.status.code(), Some(4), "limit {limit}: {}", text(&output));
        assert!(text(&output).contains("error: cannot write"), "{}", text(&output));
        assert!(files() == before, "limit {limit}: something has changed");
    }
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
}

#[test]
fn an_interrupted_run_ends_the_suite_and_is_resumed_later() {
    let repository = Project::new();
    let output = repository.reproduce(&[], &[("FAKE_STOP", "*dense-seed1-*")]);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert_eq!(repository.calls(), 2);
    let list = text(&repository.reproduce(&["--dry-run"], &[]));
    let states: Vec<&str> =
        list.lines().take(6).filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(states, ["finished", "to resume", "to do", "to do", "to do", "to do"], "{list}");
    assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0));
    assert_eq!(repository.calls(), 7);
}

#[test]
fn parallel_runs_give_the_same_results_in_the_same_order() {
    let (one, many) = (Project::new(), Project::new());
    let fails = [("FAKE_FAIL", "*-seed1-*")];
    assert_eq!(one.reproduce(&[], &fails).status.code(), Some(3));
    let output = many.reproduce(&["--jobs", "4"], &fails);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(many.calls(), 6);
    let calls = fs::read_to_string(many.path("calls")).expect("reads");
    assert!(calls.lines().all(|line| line.contains("--threads ")), "{calls}");
    let failed = |repository: &Project| -> Vec<String> {
        let text = fs::read(repository.path("out/manifest.json")).expect("reads");
        let manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let failed = manifest["failed"].as_array().expect("a list").iter();
        failed.map(|run| run["key"].as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!((failed(&many), failed(&many).len()), (failed(&one), 3));
    assert_eq!(many.reproduce(&["--jobs", "4"], &[]).status.code(), Some(0));
    let runs = |repository: &Project| fs::read(repository.path("out/runs.csv")).expect("reads");
    one.reproduce(&[], &[]);
    assert!(runs(&one) == runs(&many));
    let list = text(&many.reproduce(&["--dry-run", "--seeds", "3"], &[]));
    assert!(list.contains("3 of 9 runs to make; about "), "{list}");
    assert!(list.contains("estimated from 6 finished runs"), "{list}");
}

#[test]
fn runs_of_other_results_are_reused() {
    let there = Project::new();
    assert!(there.reproduce(&["--only", "seed0"], &[]).status.success());
    let here = Project::new();
    let (runs, results) = (there.path("runs"), there.path("out"));
    fs::remove_dir_all(runs).expect("removes");
    let with = ["--with", results.to_str().expect("UTF-8")];
    let list = text(&here.reproduce(&[&with[..], &["--dry-run"]].concat(), &[]));
    assert!(
        list.contains("elsewhere  feather-s0.9-seed0-") && list.contains("3 of 6 runs to make")
    );
    let output = here.reproduce(&with, &[]);
    assert_eq!((output.status.code(), here.calls()), (Some(0), 3), "{}", text(&output));
    let line = "3 of 6 runs, with their times, are from the results that “taper suite run --out";
    assert!(text(&output).contains(line), "{}", text(&output));
    // The combined results equal those of a suite that makes all runs.
    let whole = Project::new();
    assert!(whole.reproduce(&[], &[]).status.success());
    for name in ["curves.csv", "steps.csv", "layers.csv"] {
        let [a, b] = [&here, &whole].map(|r| fs::read(r.path("out").join(name)).expect("reads"));
        assert!(a == b, "{name}");
    }
    // If all runs are reused, no run folder is created.
    let taken = Project::new();
    let with_all = whole.path("out").display().to_string();
    let output = taken.reproduce(&["--with", &with_all], &[]);
    assert_eq!((output.status.code(), taken.calls()), (Some(0), 0), "{}", text(&output));
    let other = here.reproduce(&[&with[..], &["--set", "train.epochs=3"]].concat(), &[]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other).contains("has no run of this suite with these settings"));
    let output = here.reproduce(&["--with", "nowhere"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("is this a results folder?"), "{}", text(&output));
}

#[test]
fn a_changed_recipe_is_a_new_run() {
    let repository = Project::new();
    assert!(repository.reproduce(&[], &[]).status.success());
    fs::write(
        repository.path("experiments/quick/feather.toml"),
        "extends = 'dense.toml'\nmodel = 'y'\n",
    )
    .expect("writes");
    let output = repository.reproduce(&["--out", "other"], &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(repository.calls(), 6 + 4, "feather again, dense not");
}

#[test]
fn only_and_seeds_choose_runs_and_bands_decide_the_exit_code() {
    let repository = Project::new();
    let band =
        "[[band]]\nrow = 'feather'\nsparsity = 0.95\naccuracy_min = 0.901\nsource = 'a test'\n";
    fs::write(repository.path("experiments/quick/bands.toml"), band).expect("writes");
    let output = repository.reproduce(&["--only", "s0.95", "--seeds", "1"], &[]);
    assert_eq!(repository.calls(), 1);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("accuracy 0.9000 is below 0.9010"), "{}", text(&output));
    let output = repository.reproduce(&["--only", "s0.95", "--seeds", "2"], &[]);
    assert_eq!(output.status.code(), Some(0), "the mean of two is higher: {}", text(&output));
    let output = repository.reproduce(&["--only", "nothing"], &[]);
    assert!(
        text(&output).contains("no run of suite 'quick' has 'nothing' in its name"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_damaged_run_folder_is_a_failed_run_and_shortens_no_results() {
    let repository = Project::new();
    let run = |args: &[&str]| {
        let output = repository.command(&[&["run", "--seeds", "1"], args].concat()).output();
        let output = output.expect("runs");
        (output.status.code(), text(&output))
    };
    assert_eq!(run(&[]).0, Some(0));
    let damage = |name: &str, text: &str| {
        let runs = fs::read_dir(repository.path("runs/quick")).expect("lists").flatten();
        let folder = runs.map(|entry| entry.path()).find(|path| path.is_dir()).expect("a run");
        fs::write(folder.join(name), text).expect("writes");
    };
    let lengths = || {
        let folders = fs::read_dir(repository.path("results")).expect("lists").flatten();
        let runs = folders.map(|e| fs::read_to_string(e.path().join("runs.csv")).expect("reads"));
        let mut lengths: Vec<usize> = runs.map(|text| text.lines().count() - 1).collect();
        lengths.sort();
        lengths
    };
    // The run was trained with another recipe than its folder name says.
    damage("run.json", r#"{"schema":2,"recipe":{"train":{"epochs":9}},"segments":[]}"#);
    let (code, said) = run(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("with another recipe: train.epochs is 9, not 2"), "{said}");
    let later = r#"{"schema":99,"recipe":{},"segments":[]}"#;
    damage("run.json", later);
    let (code, said) = run(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("a later one") && !said.contains("delete the run folder"), "{said}");
    damage("result.json", "{");
    let (code, said) = run(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("delete the run folder to repeat the run"), "{said}");
    assert_eq!(lengths(), [2, 3], "earlier results are complete");
    assert_eq!(run(&["--out", "out"]).0, Some(3));
}

#[test]
fn processes_that_end_at_the_same_time_write_separate_results() {
    let repository = Project::new();
    let only = |name: &'static str| {
        repository.command(&["run", "--set", &format!("train.lr={name}")]).spawn().expect("runs")
    };
    // All runs exist, so the three processes write their results at the same time.
    for name in ["1", "2", "3"] {
        assert!(only(name).wait().expect("ends").success());
    }
    fs::remove_dir_all(repository.path("results")).expect("removes");
    let children = ["1", "2", "3"].map(only);
    assert!(children.into_iter().all(|mut child| child.wait().expect("ends").success()));
    let folders = fs::read_dir(repository.path("results")).expect("lists").flatten();
    let runs = folders.map(|e| fs::read_to_string(e.path().join("runs.csv")).expect("reads"));
    let keys: std::collections::BTreeSet<String> = runs
        .map(|text| text.lines().nth(1).expect("a run").split(',').next().expect("a key").into())
        .collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
}

#[test]
fn grids_are_not_overwritten_and_sparsities_are_unique() {
    let repository = Project::new();
    let suite = |toml: &str, args: &[&str]| {
        fs::write(repository.path("experiments/quick/suite.toml"), toml).expect("writes");
        let output = repository.command(&[&["run", "--dry-run"], args].concat()).output();
        text(&output.expect("runs"))
    };
    let grid = SUITE.replace(
        "[[row]]\nname = 'feather'",
        "[[row]]\nname = 'feather'\ngrid = { train = { lr = [1, 2] } }",
    );
    assert!(suite(&grid, &[]).contains("feather-lr2-s0.95-seed1"));
    // One run's name occurs in that of another row.
    let both = SUITE.replace(
        "[[row]]\nname = 'feather'",
        "[[row]]\nname = 'my-feather'\nlabel = 'M'\nexperiment = 'feather'\nset = { train = { lr = 2 } }\n[[row]]\nname = 'feather'",
    );
    let said = suite(&both, &["--only", "feather-s0.9-seed0"]);
    assert!(said.contains("feather-s0.9-seed0") && !said.contains("my-feather"), "{said}");
    assert!(suite(&both, &["--only", "r-s0.9-seed0"]).contains("my-feather-s0.9-seed0"));
    let said = suite(&grid, &["--set", "train.lr=3"]);
    assert!(said.contains("--set train.lr would replace the values of the grid"), "{said}");
    let variant = format!(
        "{grid}[[variant]]\nname = 'v'\nlabel = 'V'\nrows = ['f*']\nset = {{ train = {{ lr = 3 }} }}\n"
    );
    assert!(suite(&variant, &[]).contains("variant 'v' sets `train.lr`"));
    assert!(suite(&SUITE.replace("0.95", "0.9"), &[]).contains("has sparsity 0.9 twice"));
    let twin = format!("{SUITE}[[row]]\nname = 'twin'\nlabel = 'T'\nexperiment = 'feather'\n");
    let said = suite(&twin, &[]);
    assert!(said.contains("rows 'feather' and 'twin' have the same settings"), "{said}");
    assert!(suite(&SUITE.replace("seeds = 2", "seeds = 1001"), &[]).contains("at most 1000"));
    let list = text(&repository.command(&["list"]).output().expect("runs"));
    assert!(
        list.contains("quick ") && list.contains("cannot be used: ") && list.contains("methods "),
        "{list}"
    );
}

#[test]
fn two_processes_share_the_runs_and_wait_for_each_other() {
    let repository = Project::new();
    let wait = repository.path("wait");
    fs::write(&wait, "").expect("writes");
    let start = |out: &str| {
        let mut command = repository.command(&["run", "--out", out, "--seeds", "1"]);
        command.env("FAKE_WAIT", &wait).stderr(Stdio::piped()).stdout(Stdio::null());
        command.spawn().expect("runs")
    };
    let await_calls = |n: usize| {
        let begun = Instant::now();
        while repository.calls() < n {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} calls", repository.calls());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut first = start("one");
    await_calls(1);
    let second = start("two");
    await_calls(2);
    // The first process is killed. Its run continues and still holds its lock.
    first.kill().expect("kills");
    first.wait().expect("ends");
    let status = text(&repository.command(&["status", "--seeds", "1"]).output().expect("runs"));
    assert!(status.contains("2 at work, 1 to do"), "{status}");
    fs::remove_file(&wait).expect("removes");
    let second = second.wait_with_output().expect("ends");
    let said = text(&second);
    assert_eq!(second.status.code(), Some(0), "{said}");
    assert!(said.contains("by another process"), "{said}");
    assert_eq!(repository.calls(), 3, "none was made twice");
    assert!(repository.path("two/report.html").exists() && !repository.path("one").exists());
}

#[test]
fn shards_make_each_run_once_and_results_are_written_when_all_runs_exist() {
    let repository = Project::new();
    let shard = |text: &str| repository.command(&["run", "--shard", text]).output().expect("runs");
    let first = shard("0/2");
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert!(text(&first).contains("3 runs of other shards are not finished"), "{}", text(&first));
    assert_eq!(repository.calls(), 3);
    let other = shard("0/3");
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other).contains("records 2 shards of commit"), "{}", text(&other));
    let second = shard("1/2");
    assert!(text(&second).contains("all runs are finished"), "{}", text(&second));
    assert!(!repository.path("results").exists());
    assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0));
    assert_eq!(repository.calls(), 6);
    let output = shard("2/2");
    assert!(text(&output).contains("I from 0 to N - 1"), "{}", text(&output));
}

#[test]
fn status_shows_the_progress_and_errors_of_runs() {
    let repository = Project::new();
    repository.reproduce(&["--seeds", "1"], &[("FAKE_FAIL", "*feather-s0.9-seed0-*")]);
    let status = |args: &[&str]| {
        let output = repository.command(&[&["status"], args].concat()).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let said = status(&[]);
    assert!(said.contains("2 finished, 1 to resume, 3 to do"), "{said}");
    let line = "feather-s0.9-seed0  1 of 2 epochs; error: the loss is not finite at step 10";
    assert!(said.contains(line), "{said}");
    assert!(said.contains("4 of 6 runs to make; about"), "{said}");
    let runs: serde_json::Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
    assert_eq!(runs.as_array().map(Vec::len), Some(6));
    assert!(repository.reproduce(&[], &[]).status.success());
    assert!(status(&[]).contains("all runs are finished"));
}

#[test]
fn parallel_runs_use_the_devices_in_turn_and_the_key_has_the_kind_of_device() {
    let repository = Project::new();
    let args = ["--seeds", "1", "--jobs", "2", "--device", "cuda:0,cuda:1"];
    let output = repository.reproduce(&args, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let calls = fs::read_to_string(repository.path("calls")).expect("reads");
    assert!(calls.lines().all(|line| line.contains("--device cuda:")), "{calls}");
    let again = repository.reproduce(&["--seeds", "1", "--device", "cuda:1"], &[]);
    assert!(again.status.success());
    assert_eq!(repository.calls(), 3, "the same kind of device");
}

#[test]
fn shipped_suites_are_listed_beside_those_of_the_folder() {
    let repository = Project::new();
    let list = text(&repository.command(&["list"]).output().expect("runs"));
    assert!(list.lines().any(|l| l.starts_with("quick ") && l.ends_with("Test")), "{list}");
    assert!(list.contains("cifar100-mid"), "{list}");
    let folder = repository.path("experiments/quick").display().to_string();
    let output = repository.command(&["run", &folder, "--dry-run"]).output().expect("runs");
    assert!(text(&output).contains("6 of 6 runs to make"), "{}", text(&output));
}

#[test]
fn suites_that_run_at_the_same_time_write_separate_results() {
    let repository = Project::new();
    let [quick, other] = ["quick", "other"].map(|name| format!("experiments/{name}"));
    fs::create_dir(repository.path(&other)).expect("creates");
    for file in ["suite.toml", "dense.toml", "feather.toml", "bands.toml"] {
        let [from, to] = [&quick, &other].map(|folder| repository.path(folder).join(file));
        fs::copy(from, to).expect("copies");
    }
    let wait = repository.path("wait");
    fs::write(&wait, "").expect("writes");
    let mut first = repository.command(&["run", "--seeds", "1"]);
    let mut first = first.env("FAKE_WAIT", &wait).spawn().expect("runs");
    let start = Instant::now();
    while repository.calls() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the first never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = repository.command(&["run", "other"]).output().expect("runs");
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    fs::remove_file(&wait).expect("removes");
    assert_eq!(first.wait().expect("ends").code(), Some(0));
    let results = fs::read_dir(repository.path("results")).expect("lists").flatten();
    let mut suites: Vec<String> = results
        .map(|dir| fs::read_to_string(dir.path().join("manifest.json")).expect("reads"))
        .map(|text| serde_json::from_str::<serde_json::Value>(&text).expect("parses"))
        .map(|manifest| manifest["suite"].as_str().expect("a name").to_owned())
        .collect();
    suites.sort();
    assert_eq!(suites, ["other", "quick"]);
}

#[test]
fn signals_are_forwarded_to_running_runs_which_resume_later() {
    ["-INT", "-TERM"].into_iter().for_each(stop_by);
}

fn stop_by(signal: &str) {
    let repository = Project::new();
    let wait = repository.path("wait");
    fs::write(&wait, "").expect("writes");
    let mut child = repository
        .command(&["run", "--out", "out", "--jobs", "2"])
        .env("FAKE_WAIT", &wait)
        .spawn()
        .expect("runs");
    let start = Instant::now();
    while repository.calls() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("runs");
    assert!(kill.success());
    // The signal is sent only to the suite. Without forwarding, its runs would wait forever.
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{signal}");
    assert_eq!(repository.calls(), 2, "no other run was started");
    assert!(!repository.path("out").exists());
    fs::remove_file(&wait).expect("removes");
    assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0), "{signal}");
    assert_eq!(repository.calls(), 2 + 6, "the two interrupted runs resume");
}

#[test]
fn a_changed_default_is_a_new_run() {
    let repository = Project::new();
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
    assert_eq!(repository.calls(), 3);
    let changed = [("FAKE_DEFAULT", "other")];
    let output = repository.reproduce(&["--seeds", "1", "--dry-run"], &changed);
    assert!(text(&output).contains("3 of 3 runs to make"), "{}", text(&output));
}

#[test]
fn the_manifest_names_the_baseline_of_the_suite() {
    let repository = Project::new();
    let suite = repository.path("experiments/quick/suite.toml");
    let manifest = || -> serde_json::Value {
        assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0));
        let text = fs::read(repository.path("out/manifest.json")).expect("reads");
        serde_json::from_slice(&text).expect("JSON")
    };
    assert_eq!(manifest()["baseline"], serde_json::Value::Null);
    fs::write(suite, SUITE.replacen("seeds", "baseline = 'dense'\nseeds", 1)).expect("writes");
    assert_eq!(manifest()["baseline"], "dense");
    assert_eq!(repository.calls(), 6, "a baseline changes no run");
    let summary = fs::read_to_string(repository.path("out/summary.md")).expect("reads");
    assert!(summary.contains("by their gain over dense"), "{summary}");
}

#[test]
fn the_manifest_names_the_machine_of_each_run() {
    let repository = Project::new();
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
    let manifest = fs::read(repository.path("out/manifest.json")).expect("reads");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let [on] = &manifest["machines"].as_array().expect("a list")[..] else { panic!("{manifest}") };
    assert_eq!(on["machine"]["gpu"], "Fake GPU");
    assert_eq!(on["runs"].as_array().expect("a list").len(), 3);
    let summary = fs::read_to_string(repository.path("out/summary.md")).expect("reads");
    assert!(summary.contains("3 of 3 runs were made on Fake CPU, Fake GPU, 1 cores"), "{summary}");
}

#[test]
fn results_are_never_replaced_by_fewer_runs() {
    let repository = Project::new();
    let folders = || {
        let entries = fs::read_dir(repository.path("results")).expect("lists").flatten();
        let mut runs: Vec<(PathBuf, usize)> = entries
            .map(|entry| entry.path())
            .map(|dir| {
                let runs = fs::read_to_string(dir.join("runs.csv")).expect("reads");
                (dir, runs.lines().count() - 1)
            })
            .collect();
        runs.sort();
        runs.into_iter().map(|(_, n)| n).collect::<Vec<_>>()
    };
    let reproduce = |args: &[&str]| {
        let output = repository.command(&[&["run"], args].concat()).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        folders()
    };
    assert_eq!(reproduce(&["--seeds", "1"]), [3]);
    assert_eq!(reproduce(&[]), [6], "more runs replace fewer");
    assert_eq!(reproduce(&["--seeds", "1"]), [6, 3]);
    assert_eq!(reproduce(&["--set", "train.lr=0.5"]), [6, 3, 6], "other runs");
    assert_eq!(reproduce(&["--only", "dense"]), [6, 3, 6], "all existing runs are gathered");
    fs::remove_dir_all(repository.path("runs")).expect("removes");
    assert_eq!(reproduce(&["--only", "dense"]), [6, 3, 6, 2], "the other runs are deleted");
    let out = |args: &[&str]| repository.reproduce(args, &[]);
    assert!(out(&[]).status.success());
    let output = out(&["--seeds", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("pass another --out"), "{}", text(&output));
}

#[test]
fn invalid_arguments_and_files_are_rejected() {
    let repository = Project::new();
    for (args, reason) in [
        (&["run", "--set", "seed=1"][..], "pass --seeds N"),
        (&["run", "--set", "prune.sparsity=0.5"], "--only"),
        (&["run", "nothing"], "no suite 'nothing'; choose one of cifar100, "),
        (&["run", "quik"], "no suite 'quik'"),
        (&["run", "--folder", "nowhere"], "nowhere is not a folder"),
        (&["report"], "run `taper suite run` first"),
        (&["status", "quick", "--only", "nothing"], "--dry-run and without --only lists the runs"),
    ] {
        let output = repository.command(args).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(reason), "{args:?}: {}", text(&output));
    }
    // Existing files that the results would overwrite or delete.
    for name in ["manifest.json", "summary.md", "significance.svg"] {
        let out = repository.path(&format!("there-{name}"));
        fs::create_dir(&out).expect("creates");
        fs::write(out.join(name), "mine").expect("writes");
        let output = repository.reproduce(&["--out", &out.display().to_string()], &[]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("pass another --out"), "{}", text(&output));
        assert_eq!(fs::read(out.join(name)).expect("reads"), b"mine");
    }
    assert_eq!(repository.calls(), 0, "nothing was trained");
    // A failed submission leaves the record of earlier shards.
    let record = repository.path("runs/quick/shards.json");
    for there in [false, true] {
        if there {
            fs::create_dir_all(repository.path("runs/quick")).expect("creates");
            fs::write(&record, "earlier").expect("writes");
        }
        let submit = ["submit", "quick", "--slurm", "--time", "1"];
        let output = repository.command(&submit).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert_eq!(fs::read(&record).ok(), there.then(|| b"earlier".to_vec()), "{}", text(&output));
    }
    // After an answer without a job id, a job may be queued.
    let bin = repository.path("bin");
    fs::create_dir(&bin).expect("creates");
    fs::write(bin.join("sbatch"), "#!/bin/sh\necho Submitted\n").expect("writes");
    fs::set_permissions(bin.join("sbatch"), fs::Permissions::from_mode(0o755)).expect("a program");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut submit = repository.command(&["submit", "quick", "--slurm"]);
    let output = submit.env("PATH", path).output().expect("runs");
    assert!(text(&output).contains("a job may be queued"), "{}", text(&output));
    let new = fs::read_to_string(&record).expect("a record");
    assert!(new.contains("\"shards\": "), "{new}");
    for name in ["bands", "suite"] {
        fs::write(repository.path(&format!("experiments/quick/{name}.toml")), "[").expect("writes");
        let output = repository.command(&["run"]).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains(&format!("{name}.toml")), "{}", text(&output));
        fs::write(repository.path(&format!("experiments/quick/{name}.toml")), "").expect("writes");
    }
}

/// The program, installed by `cargo install` into a temporary folder.
fn installed() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a temporary folder");
    let output = taper_host::cargo()
        .args(["install", "--offline", "--locked", "--path", env!("CARGO_MANIFEST_DIR"), "--root"])
        .arg(root.path())
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", text(&output));
    let program = root.path().join("bin/taper");
    (root, program)
}

#[test]
fn an_installed_program_runs_the_quick_suite_in_an_empty_folder() {
    let (_root, program) = installed();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let suite = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("suite").args(args).current_dir(folder.path()).env_remove("TAPER_BIN");
        command.output().expect("runs")
    };
    let run = ["run", "quick", "--seeds", "1", "--jobs", "2", "--set", "train.max_steps=4"];
    let output = suite(&run);
    // Such short runs miss their bands.
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let results = fs::read_dir(folder.path().join("results")).expect("results").flatten().next();
    let results = results.expect("a folder").path();
    let page = fs::read_to_string(results.join("report.html")).expect("a page");
    assert!(page.contains("Fail: of 10 results"), "{page}");
    let manifest = fs::read_to_string(results.join("manifest.json")).expect("a manifest");
    assert!(!manifest.contains(&*folder.path().to_string_lossy()), "no path of the machine");
    assert!(manifest.contains("\"command\": \"taper suite run quick --seeds 1"), "{manifest}");
    let status = suite(&["status", "quick", "--seeds", "1", "--set", "train.max_steps=4"]);
    assert!(text(&status).contains("all runs are finished"), "{}", text(&status));
    let wrong = suite(&["run", "quick", "--set", "train.epocs=4"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
    assert!(text(&wrong).contains("did you mean `train.epochs`?"), "{}", text(&wrong));
}
