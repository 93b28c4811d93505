//! Embeds the commit that the program was built from, where there is one.

use std::{path::Path, process::Command};

fn main() {
    // The log of HEAD changes with every commit and checkout.
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git/logs/HEAD");
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let commit = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()
        .filter(|o| o.status.success());
    if let Some(commit) = commit.and_then(|o| String::from_utf8(o.stdout).ok()) {
        println!("cargo::rustc-env=TAPER_COMMIT={}", commit.trim());
    }
}
