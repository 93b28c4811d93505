//! `cargo xtask` from the command line. A script replaces `taper`.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A temporary folder that replaces the repository.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/suites");
        let suites = root.path().join("benches/suites");
        fs::create_dir_all(&suites).expect("creates");
        for name in ["cut", "kernels", "step", "eval", "zoo"] {
            let name = format!("{name}.toml");
            fs::copy(benches.join(&name), suites.join(&name)).expect("copies");
        }
        Self(root)
    }

    /// `xtask` with a fake `taper`, which records its arguments and then runs `script`.
    fn command(&self, script: &str, args: &[&str]) -> Command {
        let taper = self.path("taper");
        let calls = self.path("calls");
        fs::write(&taper, format!("#!/bin/sh\necho \"$*\" >>'{}'\n{script}\n", calls.display()))
            .expect("writes");
        fs::set_permissions(&taper, fs::Permissions::from_mode(0o755)).expect("a program");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--root").arg(self.0.path()).args(args).env("TAPER_BIN", &taper);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command("exit 0", args).current_dir(self.0.path()).output().expect("runs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
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
fn reproduce_passes_its_arguments_to_taper_and_returns_the_exit_code() {
    let repository = Repository::new();
    let args = ["reproduce", "quick", "--only", "s0.95", "--dry-run"];
    let status = repository.command("exit 3", &args).status().expect("runs");
    assert_eq!(status.code(), Some(3));
    let root = repository.0.path().display();
    let call = format!("suite run --folder {root} quick --only s0.95 --dry-run\n");
    assert_eq!(repository.calls(), call);
    assert!(repository.run(&["reproduce", "--only", "x"]).status.success());
    assert!(repository.calls().ends_with(&format!("--folder {root} --only x\n")), "the default");
}

#[test]
fn report_passes_the_folder_to_taper() {
    let repository = Repository::new();
    assert!(repository.run(&["report", "results/x"]).status.success());
    let root = repository.0.path().display();
    assert_eq!(repository.calls(), format!("suite report --folder {root} results/x\n"));
}

#[test]
fn tables_in_documents_agree_with_the_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let check = |root: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--root").arg(root).args(["report", "--check"]).output().expect("runs")
    };
    let output = check(&root);
    assert!(output.status.success(), "{}", text(&output));
    // A document with a wrong table is named, and corrected with --tables.
    let repository = Repository::new();
    let results = "results/2026-11-29-vm";
    fs::create_dir_all(repository.path("docs/src")).expect("creates");
    fs::create_dir_all(repository.path(results)).expect("creates");
    for entry in fs::read_dir(root.join(results)).expect("lists").flatten() {
        fs::copy(entry.path(), repository.path(results).join(entry.file_name())).expect("copies");
    }
    let readme = fs::read_to_string(root.join("README.md")).expect("reads");
    let tables = |text: &str| text.matches("<!-- results/").count();
    assert!(tables(&readme) > 1, "README.md has tables of results");
    let wrong = format!("<!-- {results} -->\n| 100 % |\n<!-- / -->\n");
    fs::write(repository.path("README.md"), wrong).expect("writes");
    let output = check(repository.0.path());
    assert_eq!(output.status.code(), Some(1));
    let message = "README.md differs from results/";
    assert!(text(&output).contains(message), "{}", text(&output));
    assert!(repository.run(&["report", "--tables"]).status.success());
    assert!(check(repository.0.path()).status.success());
}

#[test]
fn signals_are_forwarded_to_taper() {
    let repository = Repository::new();
    let script = "trap 'exit 130' TERM; while :; do sleep 0.05; done";
    let mut child = repository.command(script, &["reproduce"]).spawn().expect("runs");
    let begun = Instant::now();
    while repository.calls().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Time for the script to install its trap.
    std::thread::sleep(Duration::from_millis(200));
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.expect("runs").success());
    assert_eq!(child.wait().expect("ends").code(), Some(130));
}

#[test]
fn invalid_arguments_are_rejected() {
    let repository = Repository::new();
    for (args, reason) in [
        (&["bench", "kernels", "--profile"][..], "--profile applies only to the suites step, zoo"),
        (&["bench", "cut", "--only", "nothing"], "--only 'nothing' matches no row"),
        (&["bench", "kernels", "--only", "nothing"], "--only 'nothing' matches no row"),
    ] {
        let output = repository.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(reason), "{args:?}: {}", text(&output));
    }
    // Existing files that the results would overwrite.
    for name in ["manifest.json", "summary.md"] {
        let out = repository.path(&format!("there-{name}"));
        fs::create_dir(&out).expect("creates");
        fs::write(out.join(name), "mine").expect("writes");
        let output = repository.run(&["bench", "cut", "--out", &out.display().to_string()]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("pass another --out"), "{}", text(&output));
        assert_eq!(fs::read(out.join(name)).expect("reads"), b"mine");
    }
}

#[test]
fn fetch_passes_each_name_to_taper() {
    let repository = Repository::new();
    let output = repository.run(&["fetch", "cifar10", "cifar100"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(repository.calls(), "fetch cifar10\nfetch cifar100\n");
}

#[test]
fn the_speed_suite_lists_its_ratios_and_rejects_flags_of_training() {
    let repository = Repository::new();
    let speed = |args: &[&str]| {
        let output = repository.run(&[&["reproduce", "speed"], args].concat());
        (output.status.code(), text(&output))
    };
    let (code, list) = speed(&["--dry-run", "--only", "live set"]);
    assert_eq!(code, Some(0), "{list}");
    assert!(list.lines().count() == 5 && list.lines().all(|l| l.contains("live set")), "{list}");
    let output = repository
        .command("exit 0", &["reproduce", "speed"])
        .env("TAPER_PYTHON", "/nowhere/python")
        .output()
        .expect("runs");
    assert!(text(&output).contains("TAPER_PYTHON is /nowhere/python"), "{}", text(&output));
    for (args, reason) in [
        (&["--seeds", "2"][..], "the suite 'speed' has only the options"),
        (&["--set", "train.epochs=1"], "unexpected argument '--set'"),
        (&["--only", "nothing"], "--only 'nothing' matches no row"),
    ] {
        let (code, said) = speed(args);
        assert!(code == Some(2) && said.contains(reason), "{said}");
    }
    assert_eq!(repository.calls(), "", "nothing was run");
}
