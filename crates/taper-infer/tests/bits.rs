//! Results have the same bits for any batch and number of threads.

use taper_graph::random;
use taper_infer::{Engine, Options};

#[test]
fn batch_and_threads_change_no_bit() {
    const N: usize = 5;
    for seed in 0..200 {
        let graph = random::graph(seed);
        let images = random::images(&graph, N, seed);
        let engine = |batch: usize, threads: usize| {
            let options = Options { batch, threads, deterministic: true, ..Options::default() };
            Engine::compile(&graph, &options).unwrap()
        };
        let one = engine(1, 1);
        let each = images.len() / N;
        let bits = |results: Vec<f32>| results.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let want: Vec<u32> =
            images.chunks(each).flat_map(|image| bits(one.run(image).unwrap())).collect();
        for (batch, threads) in [(N, 1), (N, 2), (N, 3), (N + 3, 7)] {
            let got = bits(engine(batch, threads).run(&images).unwrap());
            assert_eq!(got, want, "seed {seed}: batch {batch}, {threads} threads");
        }
    }
}
