//! What runs and workspaces allocate. One test alone, as the counters are those of the process.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use taper_graph::random;
use taper_infer::{Engine, Options};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn runs_allocate_nothing_and_the_plan_counts_what_workspaces_take() {
    for seed in 0..300 {
        let graph = random::graph(seed);
        for (batch, threads) in [(1, 1), (4, 2), (5, 3)] {
            let options = Options { batch, threads, deterministic: true, ..Options::default() };
            let engine = Engine::compile(&graph, &options).unwrap();
            let images = random::images(&graph, batch, seed);
            let n_results = engine.output_dims().iter().product::<usize>();
            let mut results = vec![0.0; batch * n_results];

            let made = Region::new(ALLOCATOR);
            let mut workspace = engine.workspace();
            // Threads take their memory when they begin.
            engine.run_with(&mut workspace, &images, &mut results).unwrap();
            let change = made.change();
            let taken = change.bytes_allocated - change.bytes_deallocated;
            let told = engine.plan().workspace_bytes;
            let threads_and_locks = 4096 * threads;
            let is_told = (told..told + threads_and_locks).contains(&taken);
            assert!(is_told, "seed {seed}, {threads} threads: {taken} bytes, {told} in the plan");

            let runs = Region::new(ALLOCATOR);
            for n in [1, batch] {
                let images = &images[..images.len() / batch * n];
                engine.run_with(&mut workspace, images, &mut results[..n * n_results]).unwrap();
            }
            let change = runs.change();
            let counts = [change.allocations, change.reallocations, change.deallocations];
            assert_eq!(counts, [0; 3], "seed {seed}, {threads} threads\n{:#?}", graph.nodes);
        }
    }
}
