//! The cargo commands that `cargo xtask` runs. A script replaces cargo.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs `xtask` with a fake cargo, which records its arguments and then runs `script`. Returns the recorded lines, too.
fn xtask(folder: &Path, script: &str, args: &[&str]) -> (Output, String) {
    let cargo = folder.join("cargo");
    let calls = folder.join("calls");
    fs::write(&cargo, format!("#!/bin/sh\necho \"$*\" >>'{}'\n{script}\n", calls.display()))
        .expect("writes");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("makes it a program");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("--root")
        .arg(folder)
        .args(args)
        .env("CARGO", &cargo)
        .env_remove("TAPER_BIN")
        .output()
        .expect("runs");
    (output, fs::read_to_string(calls).unwrap_or_default())
}

#[test]
fn test_runs_all_steps_and_sums_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (output, calls) = xtask(folder.path(), "echo \"flags: $RUSTDOCFLAGS\"", &["test"]);
    assert_eq!(output.status.code(), Some(0));
    let verbs: Vec<&str> = calls.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs, ["fmt", "clippy", "clippy", "doc", "build", "test", "test"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("==> lints: cargo clippy --release"), "{shown}");
    assert_eq!(
        shown.matches("flags: -D warnings").count(),
        1,
        "for the documentation only: {shown}"
    );
}

#[test]
fn test_stops_at_the_step_that_fails_and_names_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (output, calls) = xtask(folder.path(), "[ \"$1\" != clippy ]", &["test", "--fast"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(calls.lines().count(), 2, "{calls}");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("step 'lints' failed: cargo clippy"), "{shown}");
}

#[test]
fn the_release_binary_is_built_and_found_where_cargo_puts_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().join("elsewhere");
    let script = format!(
        "if [ \"$1\" = metadata ]; then echo '{{\"target_directory\":\"{0}\"}}'; exit; fi\n\
         mkdir -p '{0}/release'; printf '#!/bin/sh\\necho taper \"$@\"\\n' >'{0}/release/taper'; chmod +x '{0}/release/taper'",
        target.display()
    );
    let (output, calls) = xtask(folder.path(), &script, &["fetch", "cifar100"]);
    let shown = format!("{output:?}");
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(calls.starts_with("build --release --package taper-cli\n"), "{calls}");
    assert!(shown.contains("taper fetch cifar100"), "{shown}");
}

#[test]
fn a_build_that_fails_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (output, _) = xtask(folder.path(), "exit 101", &["fetch", "cifar100"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("building taper failed"),
        "{output:?}"
    );
}
