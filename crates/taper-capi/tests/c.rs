//! Compiles and runs a C program with the header and both libraries.

use serde_json::Value;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use taper_infer::{Engine, Options};

/// Builds the libraries, and returns their paths as cargo reports them.
fn libraries() -> Vec<PathBuf> {
    let mut command = taper_host::cargo();
    command.args(["build", "--package", "taper-capi", "--offline", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages
        .filter(|m| m["manifest_path"].as_str().is_some_and(|path| path.contains("taper-capi")));
    let paths = ours.flat_map(|m| m["filenames"].as_array().cloned().unwrap_or_default());
    paths.filter_map(|path| path.as_str().map(PathBuf::from)).collect()
}

fn skip(why: &str) {
    // Not `eprintln!`, which the test runner captures.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

#[test]
fn a_c_program_gives_the_results_of_the_engine_with_both_libraries() {
    if cfg!(not(unix)) {
        return skip("this test links only on Unix");
    }
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    if !Command::new(&compiler).arg("--version").output().is_ok_and(|o| o.status.success()) {
        return skip(&format!("there is no C compiler `{compiler}`"));
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let network = here.join("../../testdata/infer/network.onnx");
    let graph = taper_infer::onnx::open(&network).expect("a network");
    let batch = 3;
    let options = Options { batch, threads: 2, ..Options::default() };
    let engine = Engine::compile(&graph, &options).expect("a network");
    let n_in = engine.input_dims().iter().product::<usize>();
    let images: Vec<f32> = (0..batch * n_in).map(|i| (i % 17) as f32 / 16.0).collect();
    let wanted = engine.run(&images).expect("results");

    let folder = tempfile::tempdir().expect("a folder");
    let libraries = libraries();
    assert_eq!(libraries.len(), 2, "{libraries:?}");
    for library in libraries {
        let program = folder.path().join(library.extension().expect("an extension"));
        let built = Command::new(&compiler)
            .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
            .arg(here.join("include"))
            .arg(here.join("examples/run.c"))
            .arg(&library)
            .args(["-lpthread", "-ldl", "-lm", "-o"])
            .arg(&program)
            .output()
            .expect("the compiler runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let run = |args: &[&str]| {
            let mut command = Command::new(&program);
            let folder = library.parent().expect("a folder");
            command.env("LD_LIBRARY_PATH", folder).env("DYLD_LIBRARY_PATH", folder);
            command.args(args).output().expect("the program runs")
        };
        let said = run(&[&network.display().to_string(), "3", "2"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let text = String::from_utf8_lossy(&said.stdout);
        assert_eq!(text.lines().count(), batch);
        let found: Vec<f32> =
            text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        // Nine digits identify an f32.
        assert_eq!(found, wanted);
        let output = run(&[&network.display().to_string(), "1", "1", "nothing"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("no output `nothing`"), "{text}");
        let failed = run(&["nowhere.onnx"]);
        assert_eq!(failed.status.code(), Some(1));
        let text = String::from_utf8_lossy(&failed.stderr);
        assert!(text.contains("error: ") && text.contains("nowhere.onnx"), "{text}");
    }
}
