//! Embeds build information: the commit, whether the sources differ from it, the version of candle, and the compiler.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(candle) = lock(crates).and_then(|lock| version_in(&lock, "candle-core")) {
        println!("cargo::rustc-env=TAPER_CANDLE={candle}");
    }
    if let Some(rustc) = std::env::var_os("RUSTC").and_then(|rustc| said(&rustc, &["--version"])) {
        println!("cargo::rustc-env=TAPER_RUSTC={rustc}");
    }
    let root = crates.join("../..");
    // A package inside the work tree of another project does not come from that project's commit.
    if git(crates, &["ls-files", "build.rs"]).is_none() {
        return;
    }
    let Some(commit) = git(&root, &["rev-parse", "HEAD"]) else { return };
    println!("cargo::rustc-env=TAPER_COMMIT={commit}");
    // The sources of the program. Untracked files do not count: they have no effect until a tracked source names them.
    let sources = ["crates", "Cargo.toml", "Cargo.lock"];
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    let is_dirty = git(&root, &[&status[..], &sources].concat()).is_some();
    println!("cargo::rustc-env=TAPER_DIRTY={is_dirty}");
    sources.iter().for_each(|name| rerun_if_changed(&root.join(name)));
    // The log of HEAD changes with every commit and checkout. Git reports its path, because `.git` is a file in a
    // linked work tree.
    for name in ["logs/HEAD", "HEAD"] {
        if let Some(path) = git(&root, &["rev-parse", "--git-path", name]) {
            rerun_if_changed(&root.join(path));
        }
    }
}

fn rerun_if_changed(path: &Path) {
    // A missing path would rerun this script at every build.
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// Runs git in a folder and returns its output.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let folder = folder.to_str()?;
    said(OsStr::new("git"), &[&["-C", folder], args].concat())
}

/// Returns the trimmed output of a program; `None` if it fails or prints nothing.
fn said(program: &OsStr, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Finds the lock file of the workspace or of the package itself.
fn lock(folder: &Path) -> Option<String> {
    let path: PathBuf = folder.ancestors().map(|f| f.join("Cargo.lock")).find(|f| f.is_file())?;
    rerun_if_changed(&path);
    std::fs::read_to_string(path).ok()
}

/// The version of a package in a lock file.
fn version_in(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.strip_suffix('"')?.to_owned())
}
