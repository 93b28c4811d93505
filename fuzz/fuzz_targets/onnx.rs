//! Fuzz target: an ONNX file. Reads its dense and sparse initializers, and compiles and runs its graph.
#![no_main]

use taper::infer::{Engine, Options};

/// Up to this total number of elements of all values, a graph compiles quickly.
const SMALL: usize = 1 << 20;
/// With a value of more elements, compiling must fail.
const LARGE: usize = 1 << 27;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shapes = [("a.weight".to_string(), vec![3, 2, 2, 2]), ("a.bias".to_string(), vec![3])];
    let _ = taper::export::check_onnx(bytes, &shapes.into());
    let Ok(graph) = taper_onnx::read(bytes, None) else { return };
    assert_eq!(graph.check(), Ok(()));
    // A size of 0 counts as 1: values without elements still have rows and columns.
    let size = |dims: &[usize]| dims.iter().fold(1usize, |n, &size| n.saturating_mul(size.max(1)));
    let sizes = || graph.nodes.iter().map(|node| size(&node.dims));
    let options = Options { deterministic: true, ..Options::default() };
    if sizes().any(|size| size > LARGE) {
        assert!(Engine::compile(&graph, &options).is_err());
    } else if sizes().fold(0, usize::saturating_add) <= SMALL
        && let Ok(engine) = Engine::compile(&graph, &options)
    {
        let n = graph.input_dims().iter().product();
        let found = engine.run(&vec![0.5; n]).map(|results| results.len());
        assert!(n == 0 || found == Ok(graph.output_dims().iter().product()));
    }
});
