//! The plan of a compiled network: its steps with kernels, sizes and times.

/// The steps of a compiled network, and their memory.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps in order.
    pub layers: Vec<LayerPlan>,
    /// Bytes of packed weights, and of the tables of positions.
    pub weight_bytes: usize,
    /// Bytes of one workspace.
    pub workspace_bytes: usize,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// Name of its weight without `.weight`, or of its operation.
    pub name: String,
    /// The kernel, for example `sparse 16x1` or `pool`.
    pub kernel: String,
    /// Shape of its value for one image.
    pub dims: Vec<usize>,
    /// Number of weights other than 0.
    pub nonzeros: usize,
    /// Fraction of weights other than 0; 1 if the step has no weights.
    pub density: f64,
    /// Bytes of its packed weights and tables.
    pub bytes: usize,
    /// Microseconds for all measured images on one thread, if measured.
    pub micros: Option<f64>,
}
