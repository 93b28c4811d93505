//! Random graphs against the interpreter, for each instruction set, batch size and number of threads.

use taper_graph::{interpret, random};
use taper_infer::{Engine, Options, Variant};

#[test]
fn random_graphs_give_the_results_of_the_interpreter() {
    for seed in 0..1500 {
        let graph = random::graph(seed);
        let n = 1 + (seed % 3) as usize;
        let images = random::images(&graph, n, seed);
        let want = interpret(&graph, &images).unwrap();
        let scale = want.iter().fold(0.0f32, |a, v| a.max(v.abs())).max(1e-3);
        for variant in Variant::available() {
            let options = Options {
                batch: n,
                threads: 1 + (seed % 2) as usize,
                variant: Some(variant),
                deterministic: true,
            };
            let engine = Engine::compile(&graph, &options).unwrap();
            let got = engine.run(&images).unwrap();
            assert_eq!(got.len(), want.len(), "seed {seed}");
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let close = (g - w).abs() <= 1e-5 * scale;
                assert!(close, "seed {seed}, {variant}: element {i}: {g} {w}\n{:#?}", graph.nodes);
            }
        }
    }
}
