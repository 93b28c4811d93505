//! Builds, finds and runs the `taper` binary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use taper_host::{Exit, on_stop, terminate};

/// Interval of the checks whether a program has ended.
const POLL: Duration = Duration::from_millis(50);

/// Environment variable with the path of a program to run instead of the release binary, which is then not built.
const OVERRIDE: &str = "TAPER_BIN";

/// The repository that this program was built from.
pub(crate) fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Builds the release binary and returns its path.
///
/// A device such as `cuda:0` or `metal` enables the feature of that name.
///
/// # Errors
/// If cargo cannot be run or the build fails, or if `TAPER_BIN` is not the path of a file.
pub(crate) fn build(root: &Path, device: Option<&str>) -> Result<PathBuf> {
    build_with(root, feature(device))
}

/// As [`build`], with a cargo feature.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_with(root: &Path, feature: Option<&str>) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        let path = std::path::absolute(&path)?;
        if !path.is_file() {
            bail!("{OVERRIDE} is {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let mut build = taper_host::cargo();
    build.current_dir(root);
    build.args(["build", "--release", "--package", "taper-cli"]);
    if let Some(feature) = feature {
        build.args(["--features", feature]);
    }
    eprintln!("building taper (release)");
    let status = build.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("building taper failed ({status})");
    }
    let path =
        target_folder(root)?.join("release").join(format!("taper{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!("the build left no binary at {}", path.display());
    }
    Ok(path)
}

/// Runs `taper` with these arguments and returns its exit code. SIGTERM and Ctrl-C are forwarded.
///
/// # Errors
/// If it cannot be run.
pub(crate) fn hand_over(
    taper: &Path,
    words: impl IntoIterator<Item = OsString>,
) -> Result<ExitCode> {
    // Before the child starts: a signal in between would end only this program.
    let asked = Arc::new(AtomicU32::new(0));
    let raised = asked.clone();
    on_stop(move || {
        raised.fetch_add(1, Ordering::SeqCst);
    })?;
    let mut child = Command::new(taper)
        .args(words)
        .spawn()
        .with_context(|| format!("cannot run {}", taper.display()))?;
    let mut n_passed_on = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(POLL);
        if n_passed_on < asked.load(Ordering::SeqCst) {
            n_passed_on = asked.load(Ordering::SeqCst);
            terminate(&child);
        }
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(Exit::Failed.into(), ExitCode::from))
}

/// The cargo feature that a device needs.
fn feature(device: Option<&str>) -> Option<&'static str> {
    match device?.split([':', ',']).next()? {
        "cuda" => Some("cuda"),
        "metal" => Some("metal"),
        _ => None,
    }
}

/// The target folder as cargo reports it: depends on `CARGO_TARGET_DIR` and configuration files.
fn target_folder(root: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let output = taper_host::cargo()
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .context("cargo metadata printed something unexpected")?;
    Ok(metadata.target_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_selects_its_feature() {
        assert_eq!(feature(None), None);
        assert_eq!(feature(Some("cpu")), None);
        assert_eq!(feature(Some("cuda:1")), Some("cuda"));
        assert_eq!(feature(Some("metal")), Some("metal"));
    }
}
