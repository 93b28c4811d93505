//! The plan of a compiled network: its steps with kernels, sizes and times.

/// What a compiled network does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps in order.
    pub layers: Vec<LayerPlan>,
    /// Bytes of packed weights and of the tables of places that steps go by.
    pub weight_bytes: usize,
    /// Bytes of one workspace.
    pub workspace_bytes: usize,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// Name of its weight without `.weight`, or of its operation.
    pub name: String,
    /// The kernel that computes it, such as `sparse 16x1` or `pool`.
    pub kernel: String,
    /// Shape of its value for one image.
    pub dims: Vec<usize>,
    /// Weights that are not 0.
    pub nonzeros: usize,
    /// Share of the weights that are not 0; 1 where there are none.
    pub density: f64,
    /// Bytes of its packed weights and tables.
    pub bytes: usize,
    /// Microseconds for the measured images on one thread, if it was measured.
    pub micros: Option<f64>,
}
