//! Compiled inference of sparse convolutional networks.
#![forbid(unsafe_code)]

use std::fmt;
use taper_graph::{Graph, GraphError};

/// How a network is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Images that a run takes at most, at least 1.
    pub batch: usize,
    /// Threads of a run, at least 1.
    pub threads: usize,
    /// Chooses kernels by rule instead of by timing them, so that the plan is the same on each call.
    pub deterministic: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 1, threads: 1, deterministic: false }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InferError {
    /// The graph is not valid, or has an operation that the engine lacks.
    Graph(GraphError),
    /// Images or results of another number or size than the network's.
    Images(String),
}

impl From<GraphError> for InferError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl fmt::Display for InferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Graph(error) => error.fmt(f),
            Self::Images(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for InferError {}

/// A compiled network. Any number of threads may run it at a time, each with a [`Workspace`] of its own.
#[derive(Debug)]
pub struct Engine {
    graph: Graph,
    batch: usize,
}

/// The memory of one run at a time.
#[derive(Debug)]
pub struct Workspace {}

/// What a compiled network does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps in order.
    pub layers: Vec<LayerPlan>,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// Bytes of one workspace.
    pub workspace_bytes: usize,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// Name of its first tensor without `.weight`, or of its operation.
    pub name: String,
    /// The kernel that computes it, such as `sparse`, `dense` or `max pool`.
    pub kernel: String,
    /// Shape of its value for one image.
    pub dims: Vec<usize>,
    /// Weights that are not 0.
    pub nonzeros: usize,
    /// Share of the weights that are not 0; 1 where there are none.
    pub density: f64,
    /// Bytes of its packed weights.
    pub bytes: usize,
    /// Microseconds for a batch, if it was measured.
    pub micros: Option<f64>,
}

impl Engine {
    /// Compiles a graph.
    ///
    /// # Errors
    /// If the graph is not valid.
    pub fn compile(graph: &Graph, options: &Options) -> Result<Self, InferError> {
        Ok(Self { graph: graph.clone(), batch: options.batch })
    }

    /// Images that a run takes at most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shape of an image.
    pub fn input_dims(&self) -> &[usize] {
        self.graph.input_dims()
    }

    /// Shape of the result for one image.
    pub fn output_dims(&self) -> &[usize] {
        self.graph.output_dims()
    }

    /// Memory for [`run_with`](Self::run_with).
    pub fn workspace(&self) -> Workspace {
        Workspace {}
    }

    /// The results for up to [`batch`](Self::batch) images, which lie one after the other.
    ///
    /// # Errors
    /// If the images are not whole, or too many.
    pub fn run(&self, images: &[f32]) -> Result<Vec<f32>, InferError> {
        let _ = images;
        Err(InferError::Images("not yet".into()))
    }

    /// Like [`run`](Self::run), without allocating: the results go to `logits`.
    ///
    /// # Errors
    /// If the images or results are not whole, or too many.
    pub fn run_with(
        &self,
        workspace: &mut Workspace,
        images: &[f32],
        logits: &mut [f32],
    ) -> Result<(), InferError> {
        let _ = workspace;
        logits.copy_from_slice(&self.run(images)?);
        Ok(())
    }

    /// What the engine does, layer by layer.
    pub fn plan(&self) -> Plan {
        Plan { layers: Vec::new(), weight_bytes: 0, workspace_bytes: 0 }
    }

    /// The plan with the time of each layer in a run of these images: the median of `rounds`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&self, images: &[f32], rounds: usize) -> Result<Plan, InferError> {
        let _ = (images, rounds);
        Ok(self.plan())
    }
}
