//! Allocations of runs, workspaces and rejected graphs. All in one test, because the counters count the whole process.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use taper_graph::{Graph, Op, random};
use taper_infer::{Engine, Options};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn allocations_are_as_documented() {
    runs_allocate_nothing_and_the_plan_counts_the_memory_of_workspaces();
    rejected_sizes_are_not_allocated();
}

fn rejected_sizes_are_not_allocated() {
    let upsample = |factor: usize| {
        let mut graph = Graph::new(&[1, 4, 4]);
        let op = Op::Upsample { factors: [factor; 2] };
        graph.output = graph.push(op, &[Graph::INPUT]).unwrap();
        graph
    };
    for graph in [
        Graph::new(&[1, 31_623, 31_623]),
        Graph::new(&[1 << 25]),
        Graph::new(&[0, 1 << 40]),
        upsample(1 << 13),
        upsample(1 << 20),
    ] {
        let region = Region::new(ALLOCATOR);
        assert!(Engine::compile(&graph, &Options::default()).is_err());
        let bytes = region.change().bytes_allocated;
        assert!(bytes < 1 << 20, "{bytes} bytes for {:?}", graph.output_dims());
    }
}

fn runs_allocate_nothing_and_the_plan_counts_the_memory_of_workspaces() {
    for seed in 0..300 {
        let graph = random::graph(seed);
        for (batch, threads) in [(1, 1), (4, 2), (5, 3)] {
            let options = Options { batch, threads, deterministic: true, ..Options::default() };
            let engine = Engine::compile(&graph, &options).unwrap();
            let images = random::images(&graph, batch, seed);
            let n_results = engine.output_dims().iter().product::<usize>();
            let mut results = vec![0.0; batch * n_results];

            let made = Region::new(ALLOCATOR);
            let mut workspace = engine.workspace().unwrap();
            // Threads allocate their memory when they start.
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
