//! Folding of batch normalisation into convolutions.

use std::collections::BTreeSet;
use taper_graph::{Graph, GraphError, Norm, Op, Tensor};

/// The same function with each normalisation that follows a convolution folded into it, where nothing else reads the
/// convolution's value or weight. Weights that are zero stay zero.
///
/// # Errors
/// If a tensor is missing or does not fit its operation.
pub(crate) fn fold_norms(graph: &Graph) -> Result<Graph, GraphError> {
    graph.check()?;
    let mut folded = graph.clone();
    let mut readers = vec![0; graph.nodes.len()];
    graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
    let is_shared = |name: &str| {
        graph.nodes.iter().flat_map(|node| node.op.tensors()).filter(|read| *read == name).count()
            > 1
    };
    // What stands for each node.
    let mut stands: Vec<usize> = (0..graph.nodes.len()).collect();
    let mut unread = BTreeSet::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let (Op::Norm(norm), &[x]) = (&node.op, &node.inputs[..]) else { continue };
        let Op::Conv(conv) = &graph.nodes[x].op else { continue };
        if readers[x] != 1 || x == graph.output || is_shared(&conv.weight) {
            continue;
        }
        let weight = graph.tensor(&conv.weight)?;
        let bias = conv.bias.as_deref().map(|bias| graph.tensor(bias)).transpose()?;
        let (scaled, shifts) = scale(graph, norm, weight, bias)?;
        let mut conv = conv.clone();
        let bias = match conv.bias.take() {
            Some(bias) if !is_shared(&bias) => bias,
            _ => free_name(&folded, bias_of(&conv.weight)),
        };
        folded.add_tensor(&conv.weight, scaled);
        folded.add_tensor(&bias, shifts);
        conv.bias = Some(bias);
        folded.nodes[x].op = Op::Conv(conv);
        unread.extend(node.op.tensors());
        stands[i] = x;
    }
    for node in &mut folded.nodes {
        node.inputs.iter_mut().for_each(|input| *input = stands[*input]);
    }
    folded.output = stands[folded.output];
    let mut i = 0;
    folded.nodes.retain(|_| {
        i += 1;
        stands[i - 1] == i - 1
    });
    // Places move up by as many as have gone before them.
    let n_before = |place: usize| (0..place).filter(|&i| stands[i] != i).count();
    for node in &mut folded.nodes {
        node.inputs.iter_mut().for_each(|input| *input -= n_before(*input));
    }
    folded.output -= n_before(folded.output);
    let read: BTreeSet<&str> = folded.nodes.iter().flat_map(|node| node.op.tensors()).collect();
    folded.tensors.retain(|name, _| read.contains(&name[..]) || !unread.contains(&name[..]));
    Ok(folded)
}

/// The weight and bias of a convolution with a normalisation behind it, in f64 until the end.
fn scale(
    graph: &Graph,
    norm: &Norm,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<(Tensor, Tensor), GraphError> {
    let values = |name: &str| graph.tensor(name).map(Tensor::values);
    let (gamma, beta) = (values(&norm.weight)?, values(&norm.bias)?);
    let (mean, var) = (values(&norm.mean)?, values(&norm.var)?);
    let scales: Vec<f64> = gamma
        .iter()
        .zip(var)
        .map(|(&g, &v)| f64::from(g) / (f64::from(v) + norm.eps).sqrt())
        .collect();
    let channel = |(c, scale): (usize, &f64)| {
        let before = bias.map_or(0.0, |bias| f64::from(bias.values()[c]));
        (f64::from(beta[c]) + (before - f64::from(mean[c])) * scale) as f32
    };
    let shifts: Vec<f32> = scales.iter().enumerate().map(channel).collect();
    let taps = weight.dims()[1..].iter().product::<usize>().max(1);
    let mut scaled = weight.values().to_vec();
    for (row, scale) in scaled.chunks_mut(taps).zip(&scales) {
        row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
    }
    Ok((Tensor::new(weight.dims(), scaled)?, Tensor::new(&[shifts.len()], shifts)?))
}

/// Name of the bias that belongs to a weight.
fn bias_of(weight: &str) -> String {
    format!("{}.bias", weight.strip_suffix(".weight").unwrap_or(weight))
}

/// The name, or a longer one that no tensor has.
fn free_name(graph: &Graph, mut name: String) -> String {
    while graph.tensors.contains_key(&name) {
        name.push('_');
    }
    name
}
