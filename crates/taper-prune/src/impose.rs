//! Pruning of models without gates.

use crate::{Changed, Pruner, error::PruneError};
use candle_core::{Tensor, Var, backprop::GradStore};
use taper_core::{LayerId, Step};
use taper_nn::{
    Gate, Gates,
    ops::{threshold, threshold_grad},
};

impl Pruner {
    /// Writes the pruned weights of `step` into the variables, until [`Imposed::lift`] restores the dense weights.
    ///
    /// For models without `taper-nn` layers. The forward and backward pass between the two calls use the pruned
    /// weights. `lift` converts the gradients of these to the straight-through gradients of the dense weights. The
    /// result is exactly that of gates in the forward pass, except for
    /// [`PrunedUpdate::Sampled`](crate::PrunedUpdate::Sampled): candle computes the gradient of the whole batch, which
    /// is then not sampled. The dense weights are restored bit for bit, whatever their type.
    ///
    /// Steps count over the whole run, not from 0 in each epoch. A step may be begun again to accumulate the gradients
    /// of several batches; the schedule observes its masks once. This is for methods that read weights only: each
    /// [`lift`](Imposed::lift) adds decay and penalties, replaces what an operator learns, updates what a criterion
    /// remembers, and prunes and regrows. With such a method, compute all batches of a step between one `impose` and
    /// one `lift`, and pass the sum of their gradients to `lift`.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
    /// # use taper_core::{Sparsity, Step};
    /// # use taper_prune::{Pruner, prunable_vars};
    /// # let varmap = VarMap::new();
    /// # let model = candle_nn::linear(8, 8, VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu))?;
    /// # let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.1)?;
    /// # let x = Tensor::ones((4, 8), DType::F32, &Device::Cpu)?;
    /// # let vars = varmap.data().lock().unwrap().clone();
    /// let mut pruner = Pruner::feather(prunable_vars(vars), Sparsity::new(0.9)?, 10)?;
    /// for step in 0..10 {
    ///     let pruned = pruner.impose(Step(step))?; // one line before the forward pass …
    ///     let loss = model.forward(&x)?.sqr()?.mean_all()?;
    ///     let mut grads = loss.backward()?;
    ///     pruned.lift(&mut grads)?; // … and one after the backward pass
    ///     sgd.step(&grads)?;
    /// }
    /// assert_eq!(pruner.bake()?, 64 - 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step), or if a variable cannot be written.
    pub fn impose(&mut self, step: Step) -> Result<Imposed<'_>, PruneError> {
        let gates = self.begin_step(step)?;
        self.impose_gates(&gates, true)
    }

    /// Writes the pruned weights of [`refresh`](Self::refresh) into the variables, for evaluation.
    ///
    /// The pruner is borrowed until the dense weights are restored. A second evaluation within the first would read
    /// pruned weights as dense ones, and the dense weights could be lost.
    ///
    /// ```compile_fail,E0499
    /// # fn evaluate(mut pruner: taper_prune::Pruner) -> Result<(), taper_prune::PruneError> {
    /// let first = pruner.impose_refreshed()?;
    /// let second = pruner.impose_refreshed()?;
    /// drop(first);
    /// # drop(second);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`impose`](Self::impose).
    pub fn impose_refreshed(&mut self) -> Result<Imposed<'_>, PruneError> {
        let gates = self.refresh()?;
        self.impose_gates(&gates, false)
    }

    fn impose_gates(&mut self, gates: &Gates, is_step: bool) -> Result<Imposed<'_>, PruneError> {
        let vars: Vec<Var> = self.choices.vars().cloned().collect();
        // Filled layer by layer: after an error half-way, dropping it restores the dense weights.
        let mut imposed = Imposed { pruner: self, is_step, layers: Vec::new() };
        for (i, var) in vars.into_iter().enumerate() {
            if let Some(gate) = gates.get(LayerId(i)) {
                // A copy: writing to the variable changes every tensor that shares its storage.
                let dense = var.as_detached_tensor().copy()?;
                var.set(&threshold(&dense, gate)?)?;
                imposed.layers.push(ImposedLayer { var, gate: gate.clone(), dense });
            }
        }
        Ok(imposed)
    }
}

/// Pruned weights in the variables of a model.
///
/// Dropping it restores the dense weights, as [`lift`](Self::lift) does.
#[derive(Debug)]
#[must_use = "the dense weights are restored when this is dropped"]
pub struct Imposed<'a> {
    pruner: &'a mut Pruner,
    /// Whether this is a training step, and not an evaluation.
    is_step: bool,
    layers: Vec<ImposedLayer>,
}

#[derive(Debug)]
struct ImposedLayer {
    var: Var,
    gate: Gate,
    dense: Tensor,
}

impl Imposed<'_> {
    /// Restores the dense weights, and converts the gradients of the pruned weights to gradients of the dense weights:
    /// unchanged for kept weights, scaled for pruned ones. In a training step it then calls [`Pruner::after_backward`].
    ///
    /// # Errors
    /// If a variable cannot be written or a gradient cannot be read.
    pub fn lift(mut self, grads: &mut GradStore) -> Result<Changed, PruneError> {
        // The weight is restored before its gradient is read, one layer at a time: after any error, drop restores the
        // other layers.
        while let Some(ImposedLayer { var, gate, dense }) = self.layers.pop() {
            var.set(&dense)?;
            if let Some(grad) = grads.get(&var) {
                let scaled = threshold_grad(&dense, &gate, grad)?;
                grads.insert(&var, scaled);
            }
        }
        match self.is_step {
            true => self.pruner.after_backward(grads),
            false => Ok(Changed::default()),
        }
    }
}

impl Drop for Imposed<'_> {
    fn drop(&mut self) {
        for layer in self.layers.drain(..) {
            // An error of the device cannot be handled here, and a panic in drop would hide its cause.
            let _ = layer.var.set(&layer.dense);
        }
    }
}
