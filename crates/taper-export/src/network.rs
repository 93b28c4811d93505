//! A network apart from its model: what is written to files.

use crate::ExportError;
use candle_core::{DType, Device, Tensor, TensorId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use taper_nn::{
    ConvConfig, MaxWindows, Model,
    graph::{self, GraphOp},
};

/// A network as it is exported: copies of its tensors, and what it computes with them. Nothing that is done to it changes
/// the model that it was taken from.
#[derive(Clone, Debug)]
pub struct Network {
    /// Short texts that every file carries: `architecture`, `classes`, `sparsity`, `recipe` and `tool`.
    pub metadata: BTreeMap<String, String>,
    /// Shape of an image: channels, rows, columns.
    pub image: [usize; 3],
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Weights of convolutions and linear layers, with their kind: what sparse formats compress.
    pub(crate) layers: BTreeMap<String, &'static str>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) output: usize,
}

/// An operation, with what it reads, and the shape of its value for one image.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<usize>,
    pub(crate) dims: Vec<usize>,
}

/// [`GraphOp`] over names of tensors.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Input,
    Conv { weight: String, bias: Option<String>, config: ConvConfig },
    Linear { weight: String, bias: Option<String> },
    Norm { weight: String, bias: String, mean: String, var: String, eps: f64 },
    Relu,
    Add,
    GlobalAverage,
    Average { size: usize },
    Maximum(MaxWindows),
    Concat,
}

impl Op {
    /// Whether it computes with the tensor of this name.
    fn reads(&self, name: &str) -> bool {
        match self {
            Self::Conv { weight, .. } | Self::Linear { weight, .. } => weight == name,
            Self::Norm { weight, .. } => weight == name,
            _ => false,
        }
    }
}

impl Network {
    /// A model as it is now, for images of this shape, channels first. The metadata go into every file.
    ///
    /// # Errors
    /// If the model computes by candle's own operations, which no exporter knows.
    pub fn of(
        model: &dyn Model,
        image: [usize; 3],
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, ExportError> {
        let graph = graph::trace(model, image)?;
        let entries = model.params().entries();
        let names: HashMap<TensorId, &str> =
            entries.iter().map(|e| (e.var.as_tensor().id(), e.name.as_str())).collect();
        let mut tensors = BTreeMap::new();
        for entry in entries {
            tensors.insert(entry.name.clone(), copy_of(&entry.var)?);
        }
        let layers = model.params().prunable().map(|(info, _)| (info.name, info.kind.name()));
        let layers = layers.collect();
        let mut named = |tensor: &Tensor| -> Result<String, ExportError> {
            match names.get(&tensor.id()) {
                Some(name) => Ok((*name).to_string()),
                None => {
                    // A constant of the model that is no parameter.
                    let name = format!("constant.{}", tensors.len());
                    tensors.insert(name.clone(), copy_of(tensor)?);
                    Ok(name)
                }
            }
        };
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for node in graph.nodes {
            let op = match &node.op {
                GraphOp::Input => Op::Input,
                GraphOp::Conv { weight, bias, config } => Op::Conv {
                    weight: named(weight)?,
                    bias: bias.as_ref().map(&mut named).transpose()?,
                    config: *config,
                },
                GraphOp::Linear { weight, bias } => Op::Linear {
                    weight: named(weight)?,
                    bias: bias.as_ref().map(&mut named).transpose()?,
                },
                GraphOp::Norm { weight, bias, mean, var, eps } => Op::Norm {
                    weight: named(weight)?,
                    bias: named(bias)?,
                    mean: named(mean)?,
                    var: named(var)?,
                    eps: *eps,
                },
                GraphOp::Relu => Op::Relu,
                GraphOp::Add => Op::Add,
                GraphOp::GlobalAverage => Op::GlobalAverage,
                GraphOp::Average { size } => Op::Average { size: *size },
                GraphOp::Maximum(windows) => Op::Maximum(*windows),
                GraphOp::Concat => Op::Concat,
            };
            nodes.push(Node { op, inputs: node.inputs, dims: node.dims });
        }
        Ok(Self { metadata, image, tensors, layers, nodes, output: graph.output })
    }

    /// The tensors by name, on the CPU: f32, and i64 for counters.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Bytes of all tensors as they are.
    pub fn bytes(&self) -> u64 {
        let of = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
        self.tensors.values().map(of).sum()
    }

    /// The same function with each normalisation that follows a convolution drawn into it: the convolution's weight is
    /// scaled, and it has a bias instead. Zeros stay zeros. Normalisations that follow something else stay, too.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn folded(&self) -> Result<Self, ExportError> {
        let mut folded = self.clone();
        let mut readers = vec![0; self.nodes.len()];
        self.nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
        // What stands for each node.
        let mut stands: Vec<usize> = (0..self.nodes.len()).collect();
        for (i, node) in self.nodes.iter().enumerate() {
            let Op::Norm { weight: gamma, bias: beta, mean, var, eps } = &node.op else { continue };
            let x = stands[node.inputs[0]];
            // What something else reads as well must stay as it is.
            let is_shared = |name: &str| self.nodes.iter().filter(|n| n.op.reads(name)).count() > 1;
            if readers[node.inputs[0]] != 1 || x != node.inputs[0] || is_shared(gamma) {
                continue;
            }
            if matches!(&self.nodes[x].op, Op::Conv { weight, .. } if is_shared(weight)) {
                continue;
            }
            let Op::Conv { weight, bias, .. } = &mut folded.nodes[x].op else { continue };
            let values = |name: &str| self.tensors[name].flatten_all()?.to_vec1::<f32>();
            let (gamma_v, beta_v) = (values(gamma)?, values(beta)?);
            let (mean_v, var_v) = (values(mean)?, values(var)?);
            let old_bias = bias.as_deref().map(values).transpose()?;
            let scales: Vec<f64> = gamma_v
                .iter()
                .zip(&var_v)
                .map(|(&g, &v)| f64::from(g) / (f64::from(v) + eps).sqrt())
                .collect();
            let channel = |c: usize| {
                let before = old_bias.as_ref().map_or(0.0, |bias| f64::from(bias[c]));
                (f64::from(beta_v[c]) + (before - f64::from(mean_v[c])) * scales[c]) as f32
            };
            let new_bias: Vec<f32> = (0..scales.len()).map(channel).collect();
            let dims = self.tensors[weight.as_str()].dims().to_vec();
            let taps = dims[1..].iter().product::<usize>().max(1);
            let mut scaled = values(weight)?;
            for (row, scale) in scaled.chunks_mut(taps).zip(&scales) {
                row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
            }
            let bias_name = bias.get_or_insert_with(|| bias_of(weight)).clone();
            let n = new_bias.len();
            let tensors = &mut folded.tensors;
            tensors.insert(weight.clone(), Tensor::from_vec(scaled, dims, &Device::Cpu)?);
            tensors.insert(bias_name, Tensor::from_vec(new_bias, n, &Device::Cpu)?);
            for name in [gamma, beta, mean, var] {
                tensors.remove(name);
            }
            if let Some(scope) = gamma.strip_suffix(".weight") {
                tensors.remove(&format!("{scope}.num_batches_tracked"));
            }
            stands[i] = x;
        }
        for node in &mut folded.nodes {
            node.inputs.iter_mut().for_each(|input| *input = stands[*input]);
        }
        folded.output = stands[folded.output];
        folded.drop_unread();
        Ok(folded)
    }

    /// Leaves out nodes that nothing reads.
    fn drop_unread(&mut self) {
        let mut read = BTreeSet::from([0, self.output]);
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if read.contains(&i) {
                read.extend(&node.inputs);
            }
        }
        let place: HashMap<usize, usize> =
            read.iter().enumerate().map(|(to, &from)| (from, to)).collect();
        let nodes = std::mem::take(&mut self.nodes).into_iter().enumerate();
        self.nodes = nodes.filter(|(i, _)| read.contains(i)).map(|(_, node)| node).collect();
        for node in &mut self.nodes {
            node.inputs.iter_mut().for_each(|input| *input = place[input]);
        }
        self.output = place[&self.output];
    }
}

/// Name of the bias that belongs to a weight.
pub(crate) fn bias_of(weight: &str) -> String {
    match weight.strip_suffix(".weight") {
        Some(scope) => format!("{scope}.bias"),
        None => format!("{weight}.bias"),
    }
}

fn copy_of(tensor: &Tensor) -> Result<Tensor, candle_core::Error> {
    let dtype = match tensor.dtype() {
        DType::I64 => DType::I64,
        _ => DType::F32,
    };
    tensor.to_device(&Device::Cpu)?.to_dtype(dtype)?.contiguous()?.copy()
}
