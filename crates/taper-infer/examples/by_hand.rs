//! Builds a convolution with one non-zero weight by hand, compiles and runs it. `.ci/wasm` also runs this example.

use std::error::Error;
use taper_infer::{
    Engine, Options,
    graph::{ActivationFn, Conv, Graph, Op, Tensor, Window},
};

fn main() -> Result<(), Box<dyn Error>> {
    // Each pixel becomes three times its right neighbour minus 1, and 0 where that is negative.
    let mut weight = [0.0; 9];
    weight[5] = 3.0;
    let mut graph = Graph::new(&[1, 2, 3]);
    graph.add_tensor("weight", Tensor::new(&[1, 1, 3, 3], weight)?);
    graph.add_tensor("bias", Tensor::new(&[1], [-1.0])?);
    let mut conv = Conv::new("weight", Window::same(3));
    conv.bias = Some("bias".into());
    let conv = graph.push(Op::Conv(conv), &[Graph::INPUT])?;
    graph.output = graph.push(Op::Activation(ActivationFn::Relu), &[conv])?;

    let options = Options { deterministic: true, ..Options::default() };
    let engine = Engine::compile(&graph, &options)?;
    let results = engine.run(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
    assert_eq!(results, [2.0, 5.0, 0.0, 11.0, 14.0, 0.0]);
    println!("{results:?}");
    Ok(())
}
