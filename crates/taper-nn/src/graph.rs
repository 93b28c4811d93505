//! The graph of a network: what its forward pass does, without doing it.
//!
//! [`trace`] runs the pass of any [`Model`] that is made of this crate's layers and operations, with activations that know
//! their shape alone. Exporters read the graph.
//!
//! ```
//! use candle_core::{Device, Result, Tensor};
//! use taper_nn::{Conv2d, ConvConfig, Init, Model, Params, Pass, Scope, graph, relu};
//!
//! struct Net(Conv2d, Params);
//!
//! impl Model for Net {
//!     fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
//!         relu(self.0.forward(images, pass)?)?.tensor()
//!     }
//!     fn params(&self) -> &Params {
//!         &self.1
//!     }
//! }
//!
//! let scope = Scope::new(0, &Device::Cpu);
//! let conv = Conv2d::new(&scope.pp("conv"), 3, 8, ConvConfig::same(3), Init::FanOut)?;
//! let graph = graph::trace(&Net(conv, scope.finish()), [3, 8, 8])?;
//! assert_eq!(graph.nodes.len(), 3); // the images, the convolution, the rectifier
//! assert_eq!(graph.nodes[graph.output].dims, [1, 8, 8, 8]);
//! # Ok::<(), candle_core::Error>(())
//! ```

use crate::{Activation, ConvConfig, MaxWindows, Model, Pass};
use candle_core::{DType, Device, Result, Tensor, TensorId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a network computes, each node after those that it reads.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Operations; the first is the input.
    pub nodes: Vec<GraphNode>,
    /// The node whose value the network gives.
    pub output: usize,
}

/// An operation with what it reads.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// What it does.
    pub op: GraphOp,
    /// The nodes that it reads, in order.
    pub inputs: Vec<usize>,
    /// Shape of its value for one image.
    pub dims: Vec<usize>,
}

/// What a node does. Tensors are those of the network's parameters, not copies.
#[derive(Clone, Debug)]
pub enum GraphOp {
    /// The images.
    Input,
    /// Convolution with a weight `[out, in / groups, kernel, kernel]`.
    Conv {
        /// The weight.
        weight: Tensor,
        /// A value for each output channel.
        bias: Option<Tensor>,
        /// Its sizes.
        config: ConvConfig,
    },
    /// `x·weightᵀ + bias` with a weight `[out, in]`.
    Linear {
        /// The weight.
        weight: Tensor,
        /// A value for each output.
        bias: Option<Tensor>,
    },
    /// `(x − mean) / √(var + eps) · weight + bias`, by constants for each channel.
    Norm {
        /// γ.
        weight: Tensor,
        /// β.
        bias: Tensor,
        /// The running mean.
        mean: Tensor,
        /// The running variance.
        var: Tensor,
        /// Added to the variance.
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// The sum of two.
    Add,
    /// Mean over the plane, to `[batch, channels]`.
    GlobalAverage,
    /// Means of windows of `size × size`, `size` apart.
    Average {
        /// Rows and columns of a window.
        size: usize,
    },
    /// Largest pixels of windows.
    Maximum(MaxWindows),
    /// The channels of all, one after the other.
    Concat,
}

/// The graph of a network for images of this shape, channels first.
///
/// # Errors
/// If the images do not fit the network, or it computes by candle's own operations, which the graph cannot hold.
pub fn trace(model: &dyn Model, [channels, height, width]: [usize; 3]) -> Result<Graph> {
    let tracer = Arc::new(Tracer::default());
    let dims = vec![1, channels, height, width];
    let images = tracer.push(GraphOp::Input, &[], dims).tensor()?;
    let output = model.forward(&images, &Pass::eval().traced_by(&tracer))?;
    let Some(output) = tracer.find(&output) else {
        candle_core::bail!("the network's output is computed by an operation of candle's own")
    };
    let nodes = std::mem::take(&mut *tracer.nodes());
    Ok(Graph { nodes, output })
}

/// Notes the operations of a pass.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    nodes: Mutex<Vec<GraphNode>>,
    /// Tensors that stand for a node.
    tensors: Mutex<HashMap<TensorId, usize>>,
}

impl Tracer {
    fn nodes(&self) -> MutexGuard<'_, Vec<GraphNode>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tensors(&self) -> MutexGuard<'_, HashMap<TensorId, usize>> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, tensor: &Tensor) -> Option<usize> {
        self.tensors().get(&tensor.id()).copied()
    }

    fn push(self: &Arc<Self>, op: GraphOp, inputs: &[usize], dims: Vec<usize>) -> Traced {
        let mut nodes = self.nodes();
        nodes.push(GraphNode { op, inputs: inputs.to_vec(), dims: dims.clone() });
        Traced { tracer: self.clone(), node: nodes.len() - 1, dims }
    }

    /// The activation that a layer reads, as one of the graph.
    pub(crate) fn enter(self: &Arc<Self>, layer: &str, x: Activation) -> Result<Activation> {
        let Some(tensor) = x.as_tensor() else { return Ok(x) };
        match self.find(tensor) {
            Some(node) => {
                let dims = tensor.dims().to_vec();
                Ok(Traced { tracer: self.clone(), node, dims }.into())
            }
            None => candle_core::bail!(
                "{layer} reads what an operation of candle's own has computed, which a graph cannot hold"
            ),
        }
    }
}

/// An activation of which the shape is known alone.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    tracer: Arc<Tracer>,
    node: usize,
    pub(crate) dims: Vec<usize>,
}

impl Traced {
    /// What an operation over this activation and others gives.
    pub(crate) fn then(&self, op: GraphOp, others: &[&Self], dims: Vec<usize>) -> Activation {
        let inputs: Vec<usize> =
            std::iter::once(self).chain(others.iter().copied()).map(|t| t.node).collect();
        self.tracer.push(op, &inputs, dims).into()
    }

    /// A tensor of zeros that stands for it.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        let tensor = Tensor::zeros(&self.dims[..], DType::F32, &Device::Cpu)?;
        self.tracer.tensors().insert(tensor.id(), self.node);
        Ok(tensor)
    }
}
