//! The passes on a convolution with batch norm, ReLU and a dead channel: operations before and after.

use taper_graph::{
    ActivationFn, Conv, Graph, GraphError, Norm, Op, Tensor, Window, interpret, passes,
};

fn main() -> Result<(), GraphError> {
    let mut graph = Graph::new(&[3, 8, 8]);
    // Nothing reads channel 1 of the first convolution.
    let first: Vec<f32> = (0..54).map(|i| (i % 7) as f32 - 3.0).collect();
    let second = [1.0, 0.0].repeat(2);
    graph.add_tensor("conv1.weight", Tensor::new(&[2, 3, 3, 3], first)?);
    graph.add_tensor("conv2.weight", Tensor::new(&[2, 2, 1, 1], second)?);
    for (name, value) in [("weight", 0.5), ("bias", 0.25), ("mean", 1.0), ("var", 4.0)] {
        graph.add_tensor(format!("norm.{name}"), Tensor::new(&[2], vec![value; 2])?);
    }
    let [weight, bias, mean, var] =
        ["weight", "bias", "mean", "var"].map(|name| format!("norm.{name}"));
    let x = graph.push(Op::Conv(Conv::new("conv1.weight", Window::same(3))), &[Graph::INPUT])?;
    let x = graph.push(Op::Norm(Norm { weight, bias, mean, var, eps: 1e-5 }), &[x])?;
    let x = graph.push(Op::Activation(ActivationFn::Relu), &[x])?;
    graph.output = graph.push(Op::Conv(Conv::new("conv2.weight", Window::same(1))), &[x])?;

    let optimized = passes::optimized(&graph)?;
    for (title, graph) in [("before", &graph), ("after", &optimized)] {
        println!("{title}");
        for node in &graph.nodes {
            println!("  {:<20} {:?}", node.op.name(), node.dims);
        }
    }
    let image: Vec<f32> = (0..192).map(|i| (i % 11) as f32 / 5.0 - 1.0).collect();
    let (before, after) = (interpret(&graph, &image)?, interpret(&optimized, &image)?);
    let differences = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
    println!("largest difference: {}", differences.fold(0.0, f32::max));
    Ok(())
}
