//! Pruning a model that does not know gates.

use crate::{Changed, Pruner, error::PruneError};
use candle_core::{Tensor, Var, backprop::GradStore};
use taper_core::{LayerId, Step};
use taper_nn::{
    Gate, Gates,
    ops::{threshold, threshold_grad},
};

impl Pruner {
    /// Puts the pruned weights of `step` into the variables, until [`Imposed::lift`] takes them out again.
    ///
    /// For models that are not built of `taper-nn` layers: the forward and backward pass between the two calls see
    /// the pruned weights, and `lift` turns the gradients of those into the straight-through gradients of the
    /// dense ones. It computes exactly what gates in the forward pass compute, but for
    /// [`PrunedUpdate::Sampled`](crate::PrunedUpdate::Sampled): candle gives the gradient of the whole batch, which is then not sampled.
    /// The dense weights come back to the bit, whatever their type.
    ///
    /// Steps count over the whole run, not from 0 in each epoch. A step may be begun again, to add up the gradients of
    /// several batches; the schedule sees its masks once.
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

    /// Puts the pruned weights of [`refresh`](Self::refresh) into the variables, for evaluation.
    ///
    /// The pruner is borrowed until they are taken out again: a second evaluation within the first would take pruned
    /// weights for dense ones, and the dense ones could be lost.
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
        // Collected as it grows, so that an error half-way drops it and puts the dense weights back.
        let mut imposed = Imposed { pruner: self, is_step, layers: Vec::new() };
        for (i, var) in vars.into_iter().enumerate() {
            if let Some(gate) = gates.get(LayerId(i)) {
                // A copy, as writing to the variable changes every tensor that shares its storage.
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
/// Dropping it puts the dense weights back, as [`lift`](Self::lift) does.
#[derive(Debug)]
#[must_use = "the dense weights return when this is dropped"]
pub struct Imposed<'a> {
    pruner: &'a mut Pruner,
    /// Whether they are those of a step, and not of an evaluation.
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
    /// Puts the dense weights back, and turns the gradients of the pruned weights into theirs: whole where a weight is kept,
    /// scaled where it is pruned. Then it does what [`Pruner::after_backward`] does, unless the weights were put in for an
    /// evaluation.
    ///
    /// # Errors
    /// If a variable cannot be written or a gradient not be read.
    pub fn lift(mut self, grads: &mut GradStore) -> Result<Changed, PruneError> {
        // The weight first, and one by one: whatever fails, the drop puts the rest back.
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
            // Nothing can be done about a device that fails here, and panicking in drop would hide why.
            let _ = layer.var.set(&layer.dense);
        }
    }
}
