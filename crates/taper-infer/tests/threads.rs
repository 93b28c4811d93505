//! Errors if the system cannot provide threads or memory. A single test, because it counts the threads of the process.
#![cfg(target_os = "linux")]

use std::{
    process::Command,
    time::{Duration, Instant},
};
use taper_graph::{Graph, random};
use taper_infer::{Engine, InferError, Options};

/// Set in the process that has limits.
const LIMITED: &str = "TAPER_TEST_LIMITED";

#[test]
fn missing_threads_and_memory_are_errors_and_started_threads_end() {
    if std::env::var_os(LIMITED).is_some() {
        return refuse();
    }
    // Stacks of 1 GiB: only some of 64 fit into 16 GiB of addresses.
    let this = std::env::current_exe().unwrap();
    let limited = Command::new("sh")
        .args(["-c", "ulimit -v 16777216 && exec \"$0\" --nocapture"])
        .arg(this)
        .env(LIMITED, "1")
        .env("RUST_MIN_STACK", (1 << 30).to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr);
    assert!(limited.status.success(), "{}{said}", String::from_utf8_lossy(&limited.stdout));
}

fn refuse() {
    let graph = random::graph(7);
    let engine = |threads: usize| {
        let options = Options { batch: 64, threads, deterministic: true, ..Options::default() };
        Engine::compile(&graph, &options).unwrap()
    };
    let before = n_threads();
    let many = engine(64);
    let images = random::images(&graph, 64, 7);
    for error in [many.workspace().unwrap_err(), many.run(&images).unwrap_err()] {
        assert!(matches!(error, InferError::Threads(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("of 64 (") && text.contains("compile for fewer threads"), "{text}");
        assert!(!text.contains("thread 2 of"), "some are started: {text}");
        // A joined thread stays in the list for a moment.
        let begun = Instant::now();
        while n_threads() > before {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} threads", n_threads());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(engine(2).run(&images), engine(1).run(&images));
    let options = Options { batch: 65_536, threads: 2, deterministic: true, ..Options::default() };
    let large = Engine::compile(&Graph::new(&[1, 1024, 1024]), &options).unwrap();
    let text = large.workspace().unwrap_err().to_string();
    let parts = ["no memory for the 32768 images of thread 2 of 2", "compile for a smaller batch"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

fn n_threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
