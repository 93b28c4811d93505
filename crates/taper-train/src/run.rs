//! A run, and a step of it.

use crate::{
    CrossEntropy, Evaluation, GradNorm, LearningRate, Loss, ModelOracle, Optimizer, Recipe, Sgd,
    clip::scale_dead,
    clip_factor,
    error::TrainError,
    eval::{count_correct, tensors},
    evaluate,
    grad_norm::{Computed, PrunedSquares},
    loss,
};
use candle_core::{Device, Tensor};
use std::cell::RefCell;
use taper_core::Step;
use taper_data::{Batch, Loader};
use taper_distributed::Ranks;
use taper_nn::{
    ForwardHook, Gates, KernelContext, LayerEvent, Model, Pass,
    ops::{self, is_finite},
};
use taper_prune::{Changed, DeadFilters, PrunedUpdate, Pruner, Report};

/// Everything that a run works on.
pub struct Run<'a> {
    /// The network.
    pub model: &'a dyn Model,
    /// What prunes it; `None` trains dense.
    pub pruner: Option<Pruner>,
    /// Moves its parameters.
    pub optimizer: Box<dyn Optimizer>,
    /// Learning rate of each step.
    pub learning_rate: Box<dyn LearningRate>,
    /// What training minimises and evaluation reports.
    pub loss: Box<dyn Loss>,
    /// Batches to train on.
    pub train: &'a Loader,
    /// Batches to measure on: after each epoch, or where there is a validation part, by [`Run::test_now`] alone.
    pub test: &'a Loader,
    /// Batches of held-out training images, which choices between epochs go by; see [`taper_data::Split::hold_out`].
    pub validation: Option<&'a Loader>,
    /// How long, and what the gradient's norm is clipped to.
    pub recipe: Recipe,
    /// Where to compute.
    pub device: &'a Device,
    /// What the kernels of all its passes share: by default, one that chooses by measurement.
    pub kernels: KernelContext,
    /// The processes that train it together: by default, this one alone.
    pub ranks: Ranks,
    /// What clipping remembers of the gradient of pruned weights.
    pub pruned_squares: PrunedSquares,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDone {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Norm of the gradient before clipping, as exact training has it.
    pub norm: GradNorm,
    /// Images of the batch.
    pub n_images: u64,
    /// Images of the batch that were right.
    pub n_correct: u64,
}

impl<'a> Run<'a> {
    /// A run with the SGD, the cosine and the cross-entropy that the recipe describes, and without a validation part.
    ///
    /// Assign others to its fields; the numbers of the recipe that belong to what they replace then have no effect:
    ///
    /// ```
    /// use taper_train::{AdamW, Run, StepDecay};
    ///
    /// fn with_adamw(run: &mut Run) {
    ///     run.optimizer = Box::new(AdamW::new(0.01));
    ///     run.learning_rate = Box::new(StepDecay { lr: 1e-3, milestones: vec![5000, 8000], factor: 0.1 });
    /// }
    /// ```
    pub fn new(
        model: &'a dyn Model,
        pruner: Option<Pruner>,
        train: &'a Loader,
        test: &'a Loader,
        recipe: Recipe,
        device: &'a Device,
    ) -> Self {
        Self {
            model,
            pruner,
            optimizer: Box::new(Sgd::new(recipe.momentum, recipe.weight_decay)),
            learning_rate: Box::new(recipe.learning_rate(train)),
            loss: Box::new(CrossEntropy { smoothing: recipe.label_smoothing }),
            train,
            test,
            validation: None,
            recipe,
            device,
            kernels: KernelContext::default(),
            ranks: Ranks::default(),
            pruned_squares: PrunedSquares::default(),
        }
    }

    /// One step of training on a batch: masks, forward pass, backward pass, clipping, optimizer.
    ///
    /// Of several ranks, each is given the whole batch and computes its part of it.
    ///
    /// # Errors
    /// [`TrainError`] if the loss or the gradient is not finite, something cannot be computed, or another rank has ended.
    pub fn step(&mut self, step: Step, batch: Batch, lr: f64) -> Result<StepDone, TrainError> {
        let n_images = batch.len();
        let part = match self.ranks.images(n_images) {
            Some(images) => batch.part(images),
            None => batch,
        };
        self.step_of(step, part, n_images, lr)
    }

    /// The same, given only the images that this rank has of a batch of `n_images`.
    pub(crate) fn step_of(
        &mut self,
        step: Step,
        part: Batch,
        n_images: usize,
        lr: f64,
    ) -> Result<StepDone, TrainError> {
        let params = self.model.params();
        let kernels = self.kernels.of_ranks(&self.ranks, n_images);
        let (images, labels) = tensors(part, self.device)?;
        if let Some(pruner) = &mut self.pruner {
            let oracle = ModelOracle::new(self.model, self.train, self.device);
            pruner.prepare(step, &mut oracle.with_kernels(&self.kernels))?;
        }
        let gates =
            self.pruner.as_mut().map(|p| p.begin_step(step)).transpose()?.unwrap_or_default();
        let logits = self.model.forward(&images, &Pass::train(&gates).with_kernels(&kernels))?;
        // Each rank has the loss of the whole batch.
        let (logits, labels) =
            (ops::gathered(&logits, &kernels)?, ops::gathered_labels(&labels, &kernels)?);
        let loss = self.loss.of(&logits, &labels)?;
        let value = loss::value(&loss)?;
        let refuse = |what, value| {
            let pass = Pass::train(&gates).with_kernels(&kernels);
            not_finite(what, value, step, self.model, (&images, &self.ranks), pass)
        };
        if !value.is_finite() {
            return Err(refuse("the loss", value)?);
        }
        let mut grads = loss.backward()?;
        let changed = match &mut self.pruner {
            Some(pruner) => pruner.after_backward(&mut grads)?,
            None => Changed::default(),
        };
        if let Some(weights) = &changed.forgotten {
            self.optimizer.forget(params, weights)?;
        }
        if let Some(weights) = &changed.momentum {
            self.optimizer.begin(params, weights)?;
        }
        let dead = self.pruner.as_ref().map(|p| p.dead_filters()).unwrap_or_default();
        let update = self.pruner.as_ref().map_or(PrunedUpdate::EveryStep, |p| p.pruned_update());
        let computed = Computed {
            params,
            grads: &grads,
            gates: &gates,
            dead: &dead,
            n_images,
            choice: self.kernels.choice(),
        };
        let norm = self.pruned_squares.norm(&computed, update, step)?;
        if !norm.all.is_finite() {
            return Err(refuse("the gradient norm", norm.all)?);
        }
        let is_unclipped = self
            .pruner
            .as_ref()
            .is_some_and(|p| p.dead_filter_choice() == DeadFilters::Unclipped && norm.dead > 0.0);
        let factor = match self.recipe.clip_norm {
            None => 1.0,
            Some(max) if is_unclipped => {
                let factor = clip_factor(norm.live(), max);
                let of_dead = clip_factor(norm.dead, max);
                scale_dead(params, &mut grads, &dead, (of_dead / factor) as f32)?;
                factor
            }
            Some(max) => clip_factor(norm.all, max),
        };
        if !changed.is_skipped {
            self.optimizer.step(params, &grads, factor, lr)?;
            if let Some(pruner) = &mut self.pruner {
                pruner.learn(factor, lr);
            }
        }
        let n_correct = count_correct(&logits, &labels)?;
        Ok(StepDone { loss: value, norm, n_images: n_images as u64, n_correct })
    }

    /// Loss and accuracy on the test images, with the weights as they are now. Every rank computes them by itself.
    ///
    /// # Errors
    /// As [`evaluate`], or if a weight cannot be read.
    pub fn test_now(&self) -> Result<Evaluation, TrainError> {
        let gates = self.refreshed()?.0;
        evaluate(self.model, &gates, self.test, &*self.loss, self.device, &self.kernels)
    }

    /// Gates for evaluating the weights as they are now, and what they keep; no report for a dense run.
    pub(crate) fn refreshed(&self) -> Result<(Gates, Option<Report>), TrainError> {
        Ok(match &self.pruner {
            Some(pruner) => {
                let (gates, report) = pruner.refresh_counted()?;
                (gates, Some(report))
            }
            None => (Gates::NONE, None),
        })
    }

    /// Number of prunable weights.
    pub(crate) fn n_prunable(&self) -> u64 {
        self.model.params().layers().iter().map(|l| l.n_weights()).sum()
    }
}

/// The error for a value that is not finite, with the place where that is seen first: the batch, a parameter, or
/// the output of a layer in a second forward pass.
fn not_finite(
    what: &'static str,
    value: f64,
    step: Step,
    model: &dyn Model,
    (images, ranks): (&Tensor, &Ranks),
    pass: Pass,
) -> Result<TrainError, TrainError> {
    struct FirstBad(RefCell<Option<String>>);
    impl ForwardHook for FirstBad {
        fn layer(&self, event: &LayerEvent) -> candle_core::Result<()> {
            if self.0.borrow().is_none() && !is_finite(event.output)? {
                *self.0.borrow_mut() =
                    Some(format!("the output of layer {} is not finite", event.name));
            }
            Ok(())
        }
    }
    // All ranks must take the same way, as the second pass is one of all.
    let place = if ranks.any(!is_finite(images)?)? {
        "the batch holds values that are not finite".to_string()
    // The pass that failed has spoilt running statistics already, so buffers tell nothing.
    } else if let Some(entry) = model.params().first_not_finite()?.filter(|e| e.kind.is_some()) {
        format!("parameter {} is not finite", entry.name)
    } else {
        let hook = FirstBad(RefCell::new(None));
        model.forward(images, &pass.watched_by(&hook))?;
        let found = hook.0.into_inner();
        let have_found = ranks.each(f64::from(u8::from(found.is_some())))?;
        let elsewhere = have_found.iter().position(|&has| has == 1.0);
        found.unwrap_or_else(|| match elsewhere {
            Some(rank) => format!("the output of a layer is not finite on rank {rank}"),
            None => "every layer's output is finite, so it arose in the loss or the backward pass"
                .into(),
        })
    };
    Ok(TrainError::NotFinite { what, value, step: step.0, place })
}
