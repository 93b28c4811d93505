//! Peak memory of compiling. A single test, because the peak counts the whole process.

use taper_graph::{Conv, Graph, Op, Tensor, Window};
use taper_infer::{Engine, Options};

/// Peak memory of this process in bytes, on Linux.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()? * 1024)
}

/// Two layers in which one weight in `one_in` is not 0.
fn graph(n: usize, kernel: usize, one_in: usize) -> Graph {
    let mut graph = Graph::new(&[n, 2, 16]);
    for layer in 0..2 {
        let n_weights = n * n * kernel * kernel;
        let weight = |i: usize| if i.is_multiple_of(one_in) { 1.0 + i as f32 } else { 0.0 };
        let name = format!("weight{layer}");
        let weights: Vec<f32> = (0..n_weights).map(weight).collect();
        graph.add_tensor(&name, Tensor::new(&[n, n, kernel, kernel], weights).unwrap());
        let conv = Op::Conv(Conv::new(name, Window::same(kernel)));
        graph.output = graph.push(conv, &[graph.output]).unwrap();
    }
    graph
}

#[test]
fn compiling_needs_little_more_memory_than_the_packed_weights() {
    let Some(_) = peak() else {
        eprintln!("skipped: this system does not report the peak memory of a process");
        return;
    };
    // Smallest first, because the peak never falls.
    for (n, kernel, one_in) in [(1024, 1, 2), (1500, 1, 1), (768, 3, 1)] {
        let graph = graph(n, kernel, one_in);
        let weights: usize = graph.tensors.values().map(|t| 4 * t.values().len()).sum();
        let before = peak().unwrap();
        let engine = Engine::compile(&graph, &Options::default()).unwrap();
        let packed = engine.plan().weight_bytes;
        let taken = peak().unwrap() - before;
        // At any time, two candidates of one layer are packed.
        let limit = packed + weights;
        assert!(taken < limit, "{taken} bytes for {packed} of {weights} in weights");
    }
}
