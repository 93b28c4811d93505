//! Writes graphs of random operations as ONNX and reads them back.

use taper_export::{Format, Network, Options, export};
use taper_graph::{Graph, GraphError, interpret, random};

/// The graph after writing it as ONNX and reading it back; `None` if opset 17 has no operator for it.
fn there_and_back(graph: &Graph) -> Option<Graph> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    let network = Network::from(graph.clone());
    match export(&network, Format::Onnx, &path, &Options::default()) {
        Ok(_) => Some(taper_onnx::open(&path).unwrap()),
        Err(error) => {
            assert!(error.to_string().contains("average pooling with dilation"), "{error}");
            None
        }
    }
}

#[test]
fn a_graph_written_as_onnx_is_read_as_the_same_function() -> Result<(), GraphError> {
    let mut n_read = 0;
    for seed in 1000..1300 {
        let graph = random::graph(seed);
        let Some(back) = there_and_back(&graph) else { continue };
        n_read += 1;
        assert_eq!(back.input_dims(), graph.input_dims(), "{seed}");
        assert_eq!(back.output_dims(), graph.output_dims(), "{seed}");
        let images = random::images(&graph, 2, seed);
        let (found, expected) = (interpret(&back, &images)?, interpret(&graph, &images)?);
        let largest = expected.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let is_near = found == expected || (found - expected).abs() <= 1e-6 * largest;
            assert!(is_near || found.is_nan() && expected.is_nan(), "{seed}: {found} {expected}");
        }
    }
    assert!(n_read > 250, "{n_read} of 300");
    Ok(())
}
