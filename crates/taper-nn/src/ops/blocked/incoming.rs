//! The partially computed gradient of an activation.

use super::node::Node;
use std::sync::Arc;
use taper_kernels::{
    buffer::Buffer,
    fused::{GradSource, GradSums, NormSlope, PassWhere},
    lanes::Lanes,
};

/// The gradient of an activation.
pub(super) struct Incoming {
    pub(super) grad: Arc<Buffer>,
    /// A batch-norm backward pass that still has to be applied.
    pub(super) through: Option<Through>,
    /// The sums for the backward pass of the batch norm that computes this activation, if a convolution has computed
    /// them. The gradient is then already masked by the ReLU.
    pub(super) finished: Option<Vec<GradSums>>,
}

/// A pending batch-norm backward pass: for each channel, a linear function of gradient and activation.
pub(super) struct Through {
    pub(super) slopes: Vec<NormSlope>,
    /// The reader with a ReLU that has not masked the gradient yet.
    pub(super) rectifier: Option<Arc<Node>>,
}

impl Incoming {
    pub(super) fn stored(grad: Buffer) -> Self {
        Self { grad: Arc::new(grad), through: None, finished: None }
    }

    /// Calls `f` with the gradient in the form that kernels read. `of` is the activation of this gradient.
    pub(super) fn with_source<R>(&self, of: &Node, f: impl FnOnce(GradSource) -> R) -> R {
        match &self.through {
            None => f(GradSource::Plain(&self.grad)),
            Some(Through { slopes, rectifier }) => of.with_view(|x| {
                let pass = rectifier.as_ref().map_or(PassWhere::Everywhere, |of| of.passes());
                f(GradSource::Normed { grad: &self.grad, x, pass, slopes })
            }),
        }
    }

    /// Records the terms that a batch norm of this activation subtracts from the gradient. The buffer already contains
    /// the gradient of the batch norm's output times its scale.
    pub(super) fn subtract(&mut self, slopes: &[NormSlope]) {
        let through = self.through.get_or_insert_with(|| Through {
            slopes: slopes
                .iter()
                .map(|s| NormSlope { scale: 1.0, mean: s.mean, ..NormSlope::default() })
                .collect(),
            rectifier: None,
        });
        for (total, slope) in through.slopes.iter_mut().zip(slopes) {
            // Corrects for a mean that differs from the recorded one, if this batch norm has other statistics.
            let apart = (total.mean - slope.mean) * slope.slope;
            total.mean_grad += slope.scale * (slope.mean_grad + apart);
            total.slope += slope.scale * slope.slope;
        }
    }
}

/// The buffer for writing, copied if it is shared.
pub(super) fn exclusive(buffer: &mut Arc<Buffer>) -> &mut [Lanes] {
    if Arc::get_mut(buffer).is_none() {
        *buffer = Arc::new(Buffer::copy_of(buffer));
    }
    Arc::get_mut(buffer).expect("a buffer that has just been made has one owner")
}
