//! Converts blocked activations to candle tensors, and passes gradients back.
//!
//! For candle, a sequence of blocked layers is one operation with many inputs: all weights, biases and images that it
//! reads. But candle's custom operations have at most three inputs. Therefore each input is a link in a chain of
//! scalars, and the values depend on the end of the chain. Candle's backward pass starts at the values, where all
//! gradients are computed at once. It then follows the chain, where each link returns the gradient of its input.

use super::{
    backward::{LeafGrads, backward, order},
    node::Node,
};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, TensorId};
use std::sync::{Arc, Mutex};

impl Node {
    /// The activation as a tensor: `[batch, channels, height, width]` or `[batch, features]`.
    pub(crate) fn tensor(self: &Arc<Self>) -> Result<Tensor> {
        let values = self.to_nchw();
        if !self.is_tracked {
            return Self::constant(values, &self.dims());
        }
        let mut inputs: Vec<Tensor> = Vec::new();
        for node in order(self).iter().rev() {
            for leaf in node.leaves() {
                if !inputs.iter().any(|known| known.id() == leaf.id()) {
                    inputs.push(leaf.clone());
                }
            }
        }
        let grads = Arc::new(Mutex::new(LeafGrads::new()));
        let mut chain = Self::constant(vec![0.0], &[])?;
        for input in &inputs {
            let link = Link { grads: grads.clone(), id: input.id() };
            chain = chain.apply_op2(input, link)?;
        }
        let end = End { node: self.clone(), values: Mutex::new(Some(values)), grads };
        chain.apply_op1(end)
    }
}

/// The end of the chain: the values.
struct End {
    node: Arc<Node>,
    /// Taken by the forward pass.
    values: Mutex<Option<Vec<f32>>>,
    /// The gradients of the inputs, written by the backward pass.
    grads: Arc<Mutex<LeafGrads>>,
}

impl CustomOp1 for End {
    fn name(&self) -> &'static str {
        "blocked-layers"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = lock(&self.values).take().unwrap_or_else(|| self.node.to_nchw());
        Ok((CpuStorage::F32(values), Shape::from(self.node.dims())))
    }

    fn bwd(&self, chain: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grads = super::super::with_values(&[grad], |v| backward(&self.node, v[0]))??;
        *lock(&self.grads) = grads;
        Ok(Some(chain.zeros_like()?))
    }
}

/// A link of the chain: an input.
struct Link {
    grads: Arc<Mutex<LeafGrads>>,
    id: TensorId,
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "blocked-layers-input"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(
        &self,
        chain: &Tensor,
        input: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = lock(&self.grads).remove(&self.id);
        let grad = match grad {
            Some(grad) => Tensor::from_vec(grad, input.dims(), input.device())?,
            None => input.zeros_like()?,
        };
        Ok((Some(chain.zeros_like()?), Some(grad)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
