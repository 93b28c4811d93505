//! `cargo xtask test`: all checks and tests, the cheapest first.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use taper_host::Exit;
use taper_report::format;

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only formatting, lints and unit tests: no documentation, integration tests or doc-tests
    #[arg(long)]
    fast: bool,
}

/// The variable that test programs read.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// One step: a cargo command with an optional environment variable.
struct Step {
    name: &'static str,
    args: &'static [&'static str],
    env: Option<(&'static str, &'static str)>,
}

impl Step {
    /// The step as a command line for a shell.
    fn command_line(&self) -> String {
        let env = self.env.map(|(name, value)| format!("{name}=\"{value}\" ")).unwrap_or_default();
        format!("{env}cargo {}", self.args.join(" "))
    }
}

const FORMAT: Step = Step { name: "format", args: &["fmt", "--all", "--check"], env: None };

const LINTS: Step = Step {
    name: "lints",
    args: &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
    env: None,
};

const DOCUMENTATION: Step = Step {
    name: "documentation",
    args: &["doc", "--release", "--workspace", "--no-deps", "--document-private-items"],
    env: Some(("RUSTDOCFLAGS", "-D warnings")),
};

const TESTS: Step = Step {
    name: "tests",
    args: &["test", "--release", "--workspace", "--no-fail-fast"],
    env: None,
};

/// The unit tests with the portable kernels. Without taper-zoo: it only composes layers, and without SIMD its networks
/// for images of 224×224 take minutes.
const PORTABLE: Step = Step {
    name: "portable kernels",
    args: &[
        "test",
        "--release",
        "--workspace",
        "--exclude",
        "taper-zoo",
        "--no-fail-fast",
        "--lib",
    ],
    env: Some(("TAPER_KERNELS", "scalar")),
};

const UNIT_TESTS: Step = Step {
    name: "unit tests",
    args: &["test", "--release", "--workspace", "--no-fail-fast", "--lib", "--bins"],
    env: None,
};

/// Builds compiled inference separately: in a workspace build, other crates enable features that it must not need.
const INFERENCE: Step = Step {
    name: "inference alone",
    args: &["build", "--release", "-p", "taper-infer", "--examples"],
    env: None,
};

/// Checks the inference crates without default features: without the code for training and for reading files.
const LEAN: Step = Step {
    name: "inference lean",
    args: &[
        "clippy",
        "--release",
        "-p",
        "taper-kernels",
        "-p",
        "taper-infer",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ],
    env: None,
};

fn steps(fast: bool) -> Vec<Step> {
    match fast {
        true => vec![FORMAT, LINTS, UNIT_TESTS],
        false => vec![FORMAT, LINTS, LEAN, DOCUMENTATION, INFERENCE, TESTS, PORTABLE],
    }
}

/// Number of tests that run at a time: `RUST_TEST_THREADS`, or two per core, since many tests wait for a program that
/// uses one core.
fn test_threads() -> OsString {
    let two_per_core = || {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        OsString::from((2 * cores).to_string())
    };
    std::env::var_os(TEST_THREADS).unwrap_or_else(two_per_core)
}

/// Runs the steps, prints their output, and stops at the first failure.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let mut failed = None;
    for step in steps(args.fast) {
        println!("\n==> {}: {}", step.name, step.command_line());
        let start = Instant::now();
        let status = taper_host::cargo()
            .args(step.args)
            .env(TEST_THREADS, test_threads())
            .envs(step.env)
            .current_dir(root)
            .status()
            .context("cannot run cargo")?;
        done.push((step.name, start.elapsed()));
        if !status.success() {
            failed = Some(step);
            break;
        }
    }

    println!("\n==> summary");
    for (name, duration) in &done {
        let ok = failed.as_ref().is_none_or(|step| step.name != *name);
        let seconds = format::seconds(duration.as_secs_f64());
        println!("{:<16} {:<6} {seconds}", name, if ok { "ok" } else { "FAILED" });
    }
    match failed {
        None => Ok(Exit::Done.into()),
        Some(step) => {
            println!("step '{}' failed: {}", step.name, step.command_line());
            Ok(Exit::Failed.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_printed_as_shell_commands() {
        let lines: Vec<String> = steps(false).iter().map(Step::command_line).collect();
        assert_eq!(
            lines,
            [
                "cargo fmt --all --check",
                "cargo clippy --release --workspace --all-targets -- -D warnings",
                "cargo clippy --release -p taper-kernels -p taper-infer --no-default-features -- -D warnings",
                "RUSTDOCFLAGS=\"-D warnings\" cargo doc --release --workspace --no-deps --document-private-items",
                "cargo build --release -p taper-infer --examples",
                "cargo test --release --workspace --no-fail-fast",
                "TAPER_KERNELS=\"scalar\" cargo test --release --workspace --exclude taper-zoo --no-fail-fast --lib",
            ]
        );
        assert_eq!(steps(true).last().map(|step| step.name), Some("unit tests"));
    }
}
