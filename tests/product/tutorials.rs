//! The tutorials of the book, as a reader follows them: files are written, commands are run, programs are compiled.

use crate::support::{
    Folder, code, json, python, repository, run, skip,
    tutorial::{Part, cached_cifar100, page, parts},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of a reader, whose shell finds `taper` and, if there is one, `python`.
struct Reader {
    folder: Folder,
    path: String,
    /// What the commands printed so far.
    out: String,
}

impl Reader {
    fn new(python: Option<PathBuf>) -> Self {
        let taper = Path::new(env!("CARGO_BIN_EXE_taper"));
        let mut folders: Vec<&Path> = taper.parent().into_iter().collect();
        folders.extend(python.as_deref().and_then(Path::parent));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).collect::<Vec<_>>();
        let all = folders.into_iter().map(Path::to_path_buf).chain(found);
        let path = std::env::join_paths(all).expect("paths without colons");
        Self { folder: Folder::new(), path: path.into_string().expect("UTF-8"), out: String::new() }
    }

    #[track_caller]
    fn sh(&mut self, script: &str) {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", script]).current_dir(self.folder.path(""));
        bash.env("PATH", &self.path).env("HF_HOME", self.folder.path("hf"));
        bash.env("HF_HUB_OFFLINE", "1").env_remove("HF_HUB_CACHE").env_remove("RAYON_NUM_THREADS");
        let said = run(&mut bash);
        assert_eq!(said.code, Some(0), "{script}\n{}\n{}", said.out, said.err);
        self.out += &said.out;
    }

    /// Follows a page from start to end.
    #[track_caller]
    fn follow(&mut self, page: &str) {
        let with = |script: &str, option: &str| -> String {
            script.lines().map(|line| format!("{line} {option}\n")).collect()
        };
        let mut n_commands = 0;
        for part in parts(page) {
            match part {
                Part::File(name, content) => {
                    let folder = self.folder.path(&name);
                    let folder = folder.parent().expect("a folder");
                    std::fs::create_dir_all(folder).expect("a folder");
                    self.folder.write(&name, content);
                    continue;
                }
                Part::Run(script) => self.sh(&script),
                Part::Long(script) => self.sh(&with(&script, "--dry-run")),
                Part::Slurm(script) => self.sh(&with(&script, "--print")),
            }
            n_commands += 1;
        }
        assert!(n_commands >= 3, "{n_commands} blocks of commands");
    }
}

#[test]
fn methods_are_compared_on_cifar100() {
    let mut reader = Reader::new(None);
    if !cached_cifar100(&reader.folder.path("hf")) {
        return skip("CIFAR-100 is not on this machine, so the tutorial about it is not followed");
    }
    reader.follow(&page("compare.md"));
    // Both lists of the suite are of its 14 runs.
    assert_eq!(reader.out.matches("to do ").count(), 2 * 14, "{}", reader.out);
    assert!(reader.out.contains("scontrol requeue"), "{}", reader.out);
    let results = std::fs::read_dir(reader.folder.path("trial/results")).expect("results");
    let results = results.flatten().next().expect("a results folder").path();
    let summary = std::fs::read_to_string(results.join("summary.md")).expect("a summary");
    for row in ["Dense", "GMP", "RigL", "Feather"] {
        assert!(summary.contains(row), "{summary}");
    }
    assert!(results.join("accuracy.svg").exists());
}

#[test]
fn a_network_of_pytorch_becomes_small_and_fast() {
    let Some(python) = python("torch, torchvision, PIL") else { return };
    let mut reader = Reader::new(Some(python));
    reader.follow(&page("pytorch.md"));
    let result = json(&reader.folder.path("sparse/result.json"));
    assert!(result["test_accuracy"].as_f64() > Some(0.9), "{result}");
    assert!(
        reader.out.contains("%  circle") && reader.out.contains("%  triangle"),
        "{}",
        reader.out
    );
    let size = |name: &str| reader.folder.path(name).metadata().expect(name).len();
    assert!(10 * size("shapes.csr.safetensors") < size("dense.safetensors"));
}

/// A program beside this one that `cargo test` has built from an example.
fn example(name: &str) -> Command {
    let taper = Path::new(env!("CARGO_BIN_EXE_taper"));
    let path = taper.with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing; cargo test --workspace builds it", path.display());
    Command::new(path)
}

#[test]
fn a_network_of_ones_own_is_pruned_and_deployed() {
    let (page, root) = (page("deploy.md"), repository());
    let blocks = code(&page, "rust");
    let source = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    // The program is the first blocks, the deployed one the last.
    let (deployed, program) = blocks.split_last().expect("blocks of Rust");
    let written = program.join("\n");
    let whole = source("crates/taper/examples/deploy.rs");
    let (_, main) = whole.split_once("\n\n").expect("a header");
    assert_eq!(written.trim(), main.trim(), "deploy.md differs from the example that is compiled");
    let whole = source("crates/taper-infer/examples/classify.rs");
    let (_, main) = whole.split_once("\n\n").expect("a header");
    assert_eq!(deployed.trim(), main.trim(), "deploy.md differs from the example that is compiled");

    let folder = Folder::new();
    let said = run(example("deploy").current_dir(folder.path("")));
    assert_eq!(said.code, Some(0), "{}", said.err);
    // What the page shows of it, except for losses and times, which depend on the machine.
    let printed = code(&page, "text");
    let shown: Vec<&str> = printed
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| {
            line.split_once(", sparsity ")
                .map_or_else(|| line.strip_suffix(" are 0"), |(_, s)| Some(s))
        })
        .collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown.iter().all(|part| said.out.contains(part)), "{shown:?} in {}", said.out);
    let said = run(example("classify").arg(folder.path("digits-0.95.onnx")));
    assert!(said.out.starts_with("class "), "{}\n{}", said.out, said.err);
}
