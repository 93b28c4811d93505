//! `cargo xtask reproduce` as a user runs it, with a script in the place of `taper`.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const SUITE: &str = "title = 'Test'\nsparsities = [0.9, 0.95]\nseeds = 2\n\
    [[row]]\nname = 'dense'\nsparsities = []\n[[row]]\nname = 'feather'\n";

/// A repository with one suite, named quick.
struct Repository(tempfile::TempDir);

impl Repository {
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-taper.sh");
        command.arg("--root").arg(self.0.path()).args(args).env("TAPER_BIN", fake);
        command.env("FAKE_CALLS", self.path("calls")).current_dir(self.0.path());
        command
    }

    fn reproduce(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let out = if args.contains(&"--out") { &[][..] } else { &["--out", "out"] };
        let args = [&["reproduce"], out, args].concat();
        self.command(&args).envs(env.iter().copied()).output().expect("runs")
    }

    /// Number of calls of `taper` so far.
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
fn makes_the_runs_once_and_writes_everything() {
    let repository = Repository::new();
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
fn steps_of_all_seeds_are_kept_where_the_clock_answers_to_the_masks() {
    let repository = Repository::new();
    let steps = |env: &[(&str, &str)]| {
        assert!(repository.reproduce(&[], env).status.success());
        fs::remove_dir_all(repository.path("runs")).expect("removes");
        fs::read_to_string(repository.path("out/steps.csv")).expect("reads")
    };
    assert!(!steps(&[]).contains("feather,0.9,1,"), "a plain schedule is the same for each seed");
    let steps = steps(&[("FAKE_CLOCK", "*feather*")]);
    assert!(steps.contains("feather,0.9,1,2,0.9,0.9,0.05,1.0\n"), "{steps}");
    assert!(!steps.contains("dense,,1,"), "{steps}");
}

#[test]
fn the_report_is_made_again_from_the_results_alone() {
    let repository = Repository::new();
    assert!(repository.reproduce(&[], &[]).status.success());
    let out = repository.path("out");
    let old = ["report.html", "summary.md"].map(|name| fs::read(out.join(name)).expect("reads"));
    for name in ["out/report.html", "out/summary.md"] {
        fs::remove_file(repository.path(name)).expect("removes");
    }
    fs::remove_dir_all(repository.path("runs")).expect("removes");
    fs::remove_dir_all(repository.path("experiments")).expect("removes");
    let output = repository.command(&["report", "out"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        ["report.html", "summary.md"].map(|name| fs::read(out.join(name)).expect("reads")),
        old
    );
}

#[test]
fn a_failed_run_is_listed_with_its_log_and_made_again() {
    let repository = Repository::new();
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
}

#[test]
fn a_killed_run_is_listed_and_resumed_by_the_next_reproduce() {
    let repository = Repository::new();
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
    let repository = Repository::new();
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
    let out = repository.path("out");
    let files = || -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(&out).expect("a folder").map(|e| e.expect("an entry").path());
        entries.map(|path| (path.clone(), fs::read(path).expect("reads"))).collect()
    };
    let before = files();
    // With a second seed there would be more in every file.
    let elsewhere = repository.command(&["reproduce", "--out", "elsewhere"]).output();
    assert!(elsewhere.expect("runs").status.success());
    let length = |name: &str| {
        let path = repository.path("elsewhere").join(name);
        fs::metadata(path).expect("a file").len()
    };
    let longest =
        ["runs.csv", "curves.csv", "steps.csv", "layers.csv", "manifest.json"].map(length);
    let longest = longest.into_iter().max().expect("files");
    // Files may not grow beyond so many half kilobytes, and writing is an error rather than the end of the program: too
    // little for the first file, and for the longest alone.
    let limits = [1, (longest - 1) / 512];
    for limit in limits {
        let command = repository.command(&["reproduce", "--out", "out"]);
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
fn an_interrupted_run_ends_it_and_is_resumed() {
    let repository = Repository::new();
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
fn several_at_a_time_give_the_same_results_in_the_same_order() {
    let (one, many) = (Repository::new(), Repository::new());
    let fails = [("FAKE_FAIL", "*-seed1-*")];
    assert_eq!(one.reproduce(&[], &fails).status.code(), Some(3));
    let output = many.reproduce(&["--jobs", "4"], &fails);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(many.calls(), 6);
    let calls = fs::read_to_string(many.path("calls")).expect("reads");
    assert!(calls.lines().all(|line| line.contains("--threads ")), "{calls}");
    let failed = |repository: &Repository| -> Vec<String> {
        let text = fs::read(repository.path("out/manifest.json")).expect("reads");
        let manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let failed = manifest["failed"].as_array().expect("a list").iter();
        failed.map(|run| run["key"].as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!((failed(&many), failed(&many).len()), (failed(&one), 3));
    assert_eq!(many.reproduce(&["--jobs", "4"], &[]).status.code(), Some(0));
    let runs = |repository: &Repository| fs::read(repository.path("out/runs.csv")).expect("reads");
    one.reproduce(&[], &[]);
    assert!(runs(&one) == runs(&many));
    let list = text(&many.reproduce(&["--dry-run", "--seeds", "3"], &[]));
    assert!(list.contains("3 of 9 runs to make; about "), "{list}");
    assert!(list.contains("by the 6 that are finished"), "{list}");
}

#[test]
fn runs_of_other_results_are_taken_over() {
    let there = Repository::new();
    assert!(there.reproduce(&["--only", "seed0"], &[]).status.success());
    let here = Repository::new();
    let (runs, results) = (there.path("runs"), there.path("out"));
    fs::remove_dir_all(runs).expect("removes");
    let with = ["--with", results.to_str().expect("UTF-8")];
    let list = text(&here.reproduce(&[&with[..], &["--dry-run"]].concat(), &[]));
    assert!(
        list.contains("elsewhere  feather-s0.9-seed0-") && list.contains("3 of 6 runs to make")
    );
    let output = here.reproduce(&with, &[]);
    assert_eq!((output.status.code(), here.calls()), (Some(0), 3), "{}", text(&output));
    let line =
        "3 of 6 runs, with their times, are from the results that “cargo xtask reproduce --out";
    assert!(text(&output).contains(line), "{}", text(&output));
    // What both hold is what one would have made.
    let whole = Repository::new();
    assert!(whole.reproduce(&[], &[]).status.success());
    for name in ["curves.csv", "steps.csv", "layers.csv"] {
        let [a, b] = [&here, &whole].map(|r| fs::read(r.path("out").join(name)).expect("reads"));
        assert!(a == b, "{name}");
    }
    let other = here.reproduce(&[&with[..], &["--set", "train.epochs=3"]].concat(), &[]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other).contains("has no run of this suite with these settings"));
    let output = here.reproduce(&["--with", "nowhere"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("is this a results folder?"), "{}", text(&output));
}

#[test]
fn a_changed_recipe_is_a_new_run() {
    let repository = Repository::new();
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
    let repository = Repository::new();
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
fn a_damaged_run_folder_is_a_failed_run() {
    let repository = Repository::new();
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
    let folder = fs::read_dir(repository.path("runs/quick"))
        .expect("lists")
        .flatten()
        .find(|e| e.path().is_dir());
    fs::write(folder.expect("a run").path().join("result.json"), "{").expect("writes");
    let output = repository.reproduce(&["--seeds", "1"], &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("delete the run folder to repeat the run"), "{}", text(&output));
}

#[test]
fn two_at_once_do_not_share_a_folder() {
    let repository = Repository::new();
    let mut first = repository.command(&["reproduce", "--out", "out", "--seeds", "1"]);
    let wait = repository.path("wait");
    fs::write(&wait, "").expect("writes");
    let mut first = first.env("FAKE_WAIT", &wait).spawn().expect("runs");
    let start = Instant::now();
    while repository.calls() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the first never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = repository.reproduce(&["--seeds", "1"], &[]);
    assert!(
        text(&second).contains("another `cargo xtask reproduce` is at work"),
        "{}",
        text(&second)
    );
    assert_eq!(second.status.code(), Some(2));
    // Killed outright, it leaves its run behind, which still holds the lock.
    first.kill().expect("kills");
    first.wait().expect("ends");
    let third = repository.reproduce(&["--seeds", "1"], &[]);
    assert!(
        text(&third).contains("another `cargo xtask reproduce` is at work"),
        "{}",
        text(&third)
    );
    assert_eq!(repository.calls(), 1);

    // Once that has ended, its run is found finished.
    fs::remove_file(&wait).expect("removes");
    let start = Instant::now();
    while !repository.reproduce(&["--seeds", "1"], &[]).status.success() {
        assert!(start.elapsed() < Duration::from_secs(60), "the lock was never given back");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(repository.calls(), 3);
}

#[test]
fn suites_that_are_made_at_the_same_time_have_results_each() {
    let repository = Repository::new();
    let [quick, other] = ["quick", "other"].map(|name| format!("experiments/{name}"));
    fs::create_dir(repository.path(&other)).expect("creates");
    for file in ["suite.toml", "dense.toml", "feather.toml", "bands.toml"] {
        let [from, to] = [&quick, &other].map(|folder| repository.path(folder).join(file));
        fs::copy(from, to).expect("copies");
    }
    let wait = repository.path("wait");
    fs::write(&wait, "").expect("writes");
    let mut first = repository.command(&["reproduce", "--seeds", "1"]);
    let mut first = first.env("FAKE_WAIT", &wait).spawn().expect("runs");
    let start = Instant::now();
    while repository.calls() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the first never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = repository.command(&["reproduce", "other"]).output().expect("runs");
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
fn signals_are_passed_on_to_the_runs_at_work_which_go_on_later() {
    ["-INT", "-TERM"].into_iter().for_each(stop_by);
}

fn stop_by(signal: &str) {
    let repository = Repository::new();
    let wait = repository.path("wait");
    fs::write(&wait, "").expect("writes");
    let mut child = repository
        .command(&["reproduce", "--out", "out", "--jobs", "2"])
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
    // The runs wait for ever, unless the signal, which reaches xtask alone, gets to them.
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{signal}");
    assert_eq!(repository.calls(), 2, "and began no other");
    assert!(!repository.path("out").exists());
    fs::remove_file(&wait).expect("removes");
    assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0), "{signal}");
    assert_eq!(repository.calls(), 2 + 6, "the two that had begun go on");
}

#[test]
fn a_changed_default_is_a_new_run() {
    let repository = Repository::new();
    assert!(repository.reproduce(&["--seeds", "1"], &[]).status.success());
    assert_eq!(repository.calls(), 3);
    let changed = [("FAKE_DEFAULT", "other")];
    let output = repository.reproduce(&["--seeds", "1", "--dry-run"], &changed);
    assert!(text(&output).contains("3 of 3 runs to make"), "{}", text(&output));
}

#[test]
fn the_manifest_names_the_baseline_of_the_suite() {
    let repository = Repository::new();
    let suite = repository.path("experiments/quick/suite.toml");
    let manifest = || -> serde_json::Value {
        assert_eq!(repository.reproduce(&[], &[]).status.code(), Some(0));
        let text = fs::read(repository.path("out/manifest.json")).expect("reads");
        serde_json::from_slice(&text).expect("JSON")
    };
    assert_eq!(manifest()["baseline"], serde_json::Value::Null);
    fs::write(suite, SUITE.replacen("seeds", "baseline = 'dense'\nseeds", 1)).expect("writes");
    assert_eq!(manifest()["baseline"], "dense");
    assert_eq!(repository.calls(), 6, "it changes no run");
    let summary = fs::read_to_string(repository.path("out/summary.md")).expect("reads");
    assert!(summary.contains("by their gain over dense"), "{summary}");
}

#[test]
fn the_manifest_names_the_machine_of_each_run() {
    let repository = Repository::new();
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
fn results_are_never_replaced_by_a_part_of_them() {
    let repository = Repository::new();
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
        let output = repository.command(&[&["reproduce"], args].concat()).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        folders()
    };
    assert_eq!(reproduce(&["--seeds", "1"]), [3]);
    assert_eq!(reproduce(&[]), [6], "more runs replace fewer");
    assert_eq!(reproduce(&["--seeds", "1"]), [6, 3]);
    assert_eq!(reproduce(&["--set", "train.lr=0.5"]), [6, 3, 6], "other runs");
    assert_eq!(reproduce(&["--only", "dense"]), [6, 3, 6], "those that are there are gathered");
    fs::remove_dir_all(repository.path("runs")).expect("removes");
    assert_eq!(reproduce(&["--only", "dense"]), [6, 3, 6, 2], "now they are not");
    let out = |args: &[&str]| repository.reproduce(args, &[]);
    assert!(out(&[]).status.success());
    let output = out(&["--seeds", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("pass another --out"), "{}", text(&output));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let repository = Repository::new();
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/suites");
    fs::create_dir_all(repository.path("benches/suites")).expect("creates");
    for name in ["cut", "kernels", "step", "eval", "zoo"] {
        let name = format!("benches/suites/{name}.toml");
        fs::copy(benches.join("../..").join(&name), repository.path(&name)).expect("copies");
    }
    for (args, reason) in [
        (&["reproduce", "--set", "seed=1"][..], "pass --seeds N"),
        (&["reproduce", "--set", "prune.sparsity=0.5"], "--only"),
        (&["reproduce", "nothing"], "no suite 'nothing'; experiments/ has quick"),
        (&["bench", "kernels", "--profile"], "--profile is for the suites step, zoo and infer"),
        (&["bench", "cut", "--only", "nothing"], "has 'nothing' in its name"),
        (&["bench", "kernels", "--only", "nothing"], "has 'nothing' in its name"),
        (&["report"], "run `cargo xtask reproduce` first"),
    ] {
        let output = repository.command(args).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(reason), "{args:?}: {}", text(&output));
    }
    // A file that results would replace, and one that they would delete.
    for name in ["manifest.json", "summary.md", "significance.svg"] {
        let out = repository.path(&format!("there-{name}"));
        fs::create_dir(&out).expect("creates");
        fs::write(out.join(name), "mine").expect("writes");
        let out = out.display().to_string();
        for args in [&["bench", "cut", "--out", &out][..], &["reproduce", "--out", &out]] {
            let output = repository.command(args).output().expect("runs");
            assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
            assert!(text(&output).contains("pass another --out"), "{}", text(&output));
        }
        assert_eq!(fs::read(Path::new(&out).join(name)).expect("reads"), b"mine");
    }
    assert_eq!(repository.calls(), 0, "nothing was trained");
    for name in ["bands", "feather", "suite"] {
        fs::write(repository.path(&format!("experiments/quick/{name}.toml")), "[").expect("writes");
        let output = repository.command(&["reproduce"]).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains(&format!("{name}.toml")), "{}", text(&output));
        if name != "suite" {
            fs::write(repository.path(&format!("experiments/quick/{name}.toml")), "")
                .expect("writes");
        }
    }
}

#[test]
fn fetch_hands_each_name_to_taper() {
    let repository = Repository::new();
    let output = repository.command(&["fetch", "cifar10", "cifar100"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        fs::read_to_string(repository.path("calls")).expect("reads"),
        "fetch cifar10\nfetch cifar100\n"
    );
}

#[test]
fn the_suite_of_speed_lists_its_ratios_and_takes_no_flags_of_training() {
    let repository = Repository::new();
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/suites");
    let suites = repository.path("benches/suites");
    fs::create_dir_all(&suites).expect("creates");
    for name in ["cut", "step", "eval", "zoo"] {
        let name = format!("{name}.toml");
        fs::copy(benches.join(&name), suites.join(&name)).expect("copies");
    }
    let speed = |args: &[&str]| {
        let output = repository.command(&[&["reproduce", "speed"], args].concat()).output();
        let output = output.expect("runs");
        (output.status.code(), text(&output))
    };
    let (code, list) = speed(&["--dry-run", "--only", "live set"]);
    assert_eq!(code, Some(0), "{list}");
    assert!(list.lines().count() == 5 && list.lines().all(|l| l.contains("live set")), "{list}");
    let output = repository
        .command(&["reproduce", "speed"])
        .env("TAPER_PYTHON", "/nowhere/python")
        .output()
        .expect("runs");
    assert!(text(&output).contains("TAPER_PYTHON is /nowhere/python"), "{}", text(&output));
    for (args, reason) in [
        (&["--seeds", "2"][..], "--seeds is not for the suite 'speed'"),
        (&["--set", "train.epochs=1"], "--set is not for"),
        (&["--only", "nothing"], "'nothing' in its name"),
    ] {
        let (code, said) = speed(args);
        assert!(code == Some(2) && said.contains(reason), "{said}");
    }
}
