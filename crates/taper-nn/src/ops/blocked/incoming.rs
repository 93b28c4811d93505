//! The gradient of an activation, as far as it has been computed.

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
    /// What still has to be done to it.
    pub(super) through: Option<Through>,
    /// The sums that the normalisation behind it needs, if it is finished: only what passes is left of it.
    pub(super) finished: Option<Vec<GradSums>>,
}

/// What is left of the gradient of a normalisation: for each channel, a linear function of gradient and activation.
pub(super) struct Through {
    pub(super) slopes: Vec<NormSlope>,
    /// The reader whose rectifier has not been gone through.
    pub(super) rectifier: Option<Arc<Node>>,
}

impl Incoming {
    pub(super) fn stored(grad: Buffer) -> Self {
        Self { grad: Arc::new(grad), through: None, finished: None }
    }

    /// Calls `f` with the gradient as a kernel reads it; `of` is the activation that it belongs to.
    pub(super) fn with_source<R>(&self, of: &Node, f: impl FnOnce(GradSource) -> R) -> R {
        match &self.through {
            None => f(GradSource::Plain(&self.grad)),
            Some(Through { slopes, rectifier }) => of.with_view(|x| {
                let pass = rectifier.as_ref().map_or(PassWhere::Everywhere, |of| of.passes());
                f(GradSource::Normed { grad: &self.grad, x, pass, slopes })
            }),
        }
    }

    /// Adds what a normalisation of the activation subtracts from its gradient, for channels whose gradients through it,
    /// times its scale, are in the buffer.
    pub(super) fn subtract(&mut self, slopes: &[NormSlope]) {
        let through = self.through.get_or_insert_with(|| Through {
            slopes: slopes
                .iter()
                .map(|s| NormSlope { scale: 1.0, mean: s.mean, ..NormSlope::default() })
                .collect(),
            rectifier: None,
        });
        for (total, slope) in through.slopes.iter_mut().zip(slopes) {
            // A centre apart from that of the others, if this normalisation has other statistics.
            let apart = (total.mean - slope.mean) * slope.slope;
            total.mean_grad += slope.scale * (slope.mean_grad + apart);
            total.slope += slope.scale * slope.slope;
        }
    }
}

/// The buffer for writing; copied if something else reads it.
pub(super) fn exclusive(buffer: &mut Arc<Buffer>) -> &mut [Lanes] {
    if Arc::get_mut(buffer).is_none() {
        *buffer = Arc::new(Buffer::copy_of(buffer));
    }
    Arc::get_mut(buffer).expect("a buffer that has just been made has one owner")
}
