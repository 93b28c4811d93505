//! Builds each crate from its own archive, outside the repository. Runs the example of its README in a new project with
//! this crate as the only dependency.

mod support;

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use support::{Folder, Said, code, repository, run};

/// Crates without a Rust library: the program, and the C API.
const NO_RUST_LIBRARY: [&str; 2] = ["taper-cli", "taper-capi"];

fn cargo(folder: &Path, args: &[&str]) -> Said {
    let mut command = taper_host::cargo();
    // The settings that this test was built with must not reach the user's build.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC_WRAPPER"] {
        command.env_remove(name);
    }
    command.env("CARGO_INCREMENTAL", "0").current_dir(folder).args(args).arg("--offline");
    let said = run(&mut command);
    assert_eq!(said.code, Some(0), "cargo {args:?} in {}:\n{}", folder.display(), said.err);
    said
}

/// Names and versions of the crates that are published.
fn crates() -> Vec<(String, String)> {
    let said = cargo(&repository(), &["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&said.out).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let published = packages.filter(|package| package["publish"].is_null());
    published.map(|package| (text(&package["name"]), text(&package["version"]))).collect()
}

/// Packs all crates and unpacks their archives into a folder. Returns the path of each crate.
fn archives(crates: &[(String, String)], target: &Path, folder: &Path) -> Vec<PathBuf> {
    let pack = ["package", "--workspace", "--exclude", "xtask", "--no-verify", "--allow-dirty"];
    let to = target.display().to_string();
    cargo(&repository(), &[&pack[..], &["--target-dir", &to]].concat());
    let unpacked = crates.iter().map(|(name, version)| {
        let name = format!("{name}-{version}");
        let archive = target.join("package").join(format!("{name}.crate"));
        let mut tar = Command::new("tar");
        // `m` sets the time of the files to now: cargo recompiles files that are newer than its last result.
        let said = run(tar.current_dir(folder).args(["-xzmf"]).arg(&archive));
        assert_eq!(said.code, Some(0), "{}: {}", archive.display(), said.err);
        folder.join(name)
    });
    unpacked.collect()
}

/// The first Rust block on a page as a program, built like a doc-test.
fn program(page: &str) -> String {
    let block = code(page, "rust").into_iter().next().expect("an example");
    let lines = block.lines().map(|line| match line {
        "#" => "",
        line => line.strip_prefix("# ").unwrap_or(line),
    });
    let block = lines.collect::<Vec<_>>().join("\n");
    if block.contains("fn main()") {
        return block;
    }
    match block.rsplit_once("Ok::<(), ") {
        Some((body, end)) => {
            let error = end.trim().trim_end_matches(">(())");
            format!("fn main() -> Result<(), {error}> {{\n{body}\nOk(())\n}}\n")
        }
        None => format!("fn main() {{\n{block}\n}}\n"),
    }
}

/// Compiles the C example of an archive, links the static library, and runs a network.
fn run_in_c(archive: &Path, target: &Path) {
    if !cfg!(unix) || !run_ok(Command::new("cc").arg("--version")) {
        return support::skip("there is no C compiler `cc`");
    }
    let program = archive.join("run");
    let library = target.join("debug/libtaper_infer.a");
    let said = run(Command::new("cc")
        .args(["-std=c99", "-I"])
        .arg(archive.join("include"))
        .arg(archive.join("examples/run.c"))
        .arg(library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let network = repository().join("testdata/infer/network.onnx");
    let said = run(Command::new(program).arg(network));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.split_whitespace().all(|number| number.parse::<f32>().is_ok()),
        "{}",
        said.out
    );
}

fn run_ok(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
#[ignore = "compiles every crate again and takes minutes; .ci/packages runs it"]
fn each_crate_builds_from_its_archive_and_the_example_of_its_readme_runs() {
    let crates = crates();
    assert!(crates.len() >= 17, "{crates:?}");
    let folder = Folder::new();
    // In the repository's target folder: other people's crates are then compiled only once.
    let target = repository().join("target/packages");
    let places = archives(&crates, &target, &folder.path(""));
    // Replaces the registry: the path of each of our crates.
    let mut config =
        format!("[build]\ntarget-dir = '{}'\n[profile.dev]\ndebug = false\n", target.display());
    config += "[patch.crates-io]\n";
    for ((name, _), place) in crates.iter().zip(&places) {
        config += &format!("{name} = {{ path = '{}' }}\n", place.display());
    }
    std::fs::create_dir(folder.path(".cargo")).expect("a folder");
    folder.write(".cargo/config.toml", config);
    for ((name, version), place) in crates.iter().zip(&places) {
        if NO_RUST_LIBRARY.contains(&name.as_str()) {
            cargo(place, &["build", "--quiet"]);
            continue;
        }
        let project = format!("try-{name}");
        cargo(&folder.path(""), &["new", "--quiet", "--vcs", "none", &project]);
        let project = folder.path(&project);
        let manifest = support::bytes(&project.join("Cargo.toml"));
        let manifest = String::from_utf8(manifest).expect("text");
        let manifest = format!("{}\n{name} = \"{version}\"\n", manifest.trim_end());
        std::fs::write(project.join("Cargo.toml"), manifest).expect("a manifest");
        // Only versions that exist on this machine: a test downloads nothing.
        std::fs::copy(repository().join("Cargo.lock"), project.join("Cargo.lock"))
            .expect("a lock file");
        let readme = String::from_utf8(support::bytes(&place.join("README.md"))).expect("text");
        std::fs::write(project.join("src/main.rs"), program(&readme)).expect("a program");
        cargo(&project, &["run", "--quiet"]);
        println!("{name}: its example runs");
    }
    let of = |name: &str| {
        let place = crates.iter().zip(&places).find(|((known, _), _)| known == name);
        place.expect("a crate of that name").1
    };
    run_in_c(of("taper-capi"), &target);
    let taper = target.join(format!("debug/taper{}", std::env::consts::EXE_SUFFIX));
    let said =
        run(Command::new(taper).current_dir(folder.path("")).args(["train", "--max-steps", "2"]));
    assert_eq!(said.code, Some(0), "{}", said.err);
}
