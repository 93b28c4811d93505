//! Lists the operations of an ONNX file with their shapes: `show FILE`.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("name a file")?;
    let graph = taper_onnx::open(path)?;
    for (i, node) in graph.nodes.iter().enumerate() {
        println!("{i:4} {:22} {:?} of {:?}", node.op.name(), node.dims, node.inputs);
    }
    println!("output: node {}", graph.output);
    Ok(())
}
