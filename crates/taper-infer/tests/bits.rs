//! Results are bit-identical for any batch size, any number of threads, and each instruction set.

use taper_graph::{Graph, Op, random};
use taper_infer::{Engine, Options, Variant};

fn engine(graph: &Graph, batch: usize, threads: usize, variant: Variant) -> Engine {
    let options = Options { batch, threads, deterministic: true, variant: Some(variant) };
    Engine::compile(graph, &options).unwrap()
}

/// The results of all images, in batches of at most the engine's batch size.
fn results(engine: &Engine, images: &[f32]) -> Vec<u32> {
    let each: usize = engine.input_dims().iter().product();
    let runs = images.chunks(engine.batch() * each);
    runs.flat_map(|images| engine.run(images).unwrap()).map(f32::to_bits).collect()
}

#[test]
fn batches_and_threads_change_no_bit() {
    for seed in 0..300 {
        let graph = random::graph(seed);
        let images = random::images(&graph, 7, seed);
        let variant = Variant::available().next().unwrap();
        let want = results(&engine(&graph, 7, 1, variant), &images);
        for (batch, threads) in [(1, 1), (2, 2), (3, 3), (7, 2), (7, 4), (9, 5)] {
            let got = results(&engine(&graph, batch, threads, variant), &images);
            assert!(got == want, "seed {seed}: batch {batch}, {threads} threads");
        }
    }
}

/// Sums over whole planes depend on the row layout, and therefore on the width of vectors.
fn has_global_mean(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| node.op == Op::GlobalAverage)
}

#[test]
fn instruction_sets_change_no_bit() {
    let graphs = (0..1000).map(|seed| (seed, random::graph(seed)));
    let mut n = 0;
    for (seed, graph) in graphs.filter(|(_, graph)| !has_global_mean(graph)) {
        n += 1;
        let images = random::images(&graph, 2, seed);
        let mut variants =
            Variant::available().map(|v| (v, results(&engine(&graph, 2, 1, v), &images)));
        let (first, want) = variants.next().unwrap();
        for (other, got) in variants {
            let differs = got.iter().zip(&want).position(|(a, b)| {
                let is_finite = f32::from_bits(*a).is_finite() && f32::from_bits(*b).is_finite();
                is_finite && a != b
            });
            if let Some(i) = differs {
                let [a, b] = [want[i], got[i]].map(f32::from_bits);
                panic!(
                    "seed {seed}: element {i}: {a:e} with {first}, {b:e} with {other}\n{:#?}",
                    graph.nodes
                );
            }
        }
    }
    assert!(n > 300, "{n}");
}
