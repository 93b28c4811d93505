//! From blocked activations to tensors of candle, and gradients back.
//!
//! To candle a stretch of blocked layers is one operation with many inputs: all weights, biases and images behind it.
//! Its custom operations take three at most, so the inputs are threaded on a chain of scalars that ends in the values;
//! candle then walks back from the values, where all gradients are computed at once, along the chain, where each input
//! is handed its own.

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

/// The values of a stretch.
struct End {
    node: Arc<Node>,
    /// Taken by the forward pass.
    values: Mutex<Option<Vec<f32>>>,
    /// Where the backward pass leaves the gradients of the inputs.
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

/// An input of a stretch.
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
