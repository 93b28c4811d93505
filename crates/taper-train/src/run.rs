//! A training run, and one step of it.

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

/// The parts of a training run.
pub struct Run<'a> {
    /// The network.
    pub model: &'a dyn Model,
    /// The pruner; `None` trains a dense network.
    pub pruner: Option<Pruner>,
    /// Updates the parameters of the network.
    pub optimizer: Box<dyn Optimizer>,
    /// The learning rate of each step.
    pub learning_rate: Box<dyn LearningRate>,
    /// The loss that training minimises and evaluation reports.
    pub loss: Box<dyn Loss>,
    /// Training batches.
    pub train: &'a Loader,
    /// Test batches. Without validation images, they are evaluated during training; otherwise only by
    /// [`Run::test_now`].
    pub test: &'a Loader,
    /// Batches of held-out training images, used to choose between epochs; see [`taper_data::Split::hold_out`].
    pub validation: Option<&'a Loader>,
    /// Length of the run, gradient clipping, and other numbers.
    pub recipe: Recipe,
    /// The device.
    pub device: &'a Device,
    /// State that the kernels of all passes share. The default chooses dense or sparse kernels by measurement.
    pub kernels: KernelContext,
    /// The processes that train this network together. The default is this process alone.
    pub ranks: Ranks,
    /// Squared gradient norms of pruned weights that clipping keeps between steps.
    pub pruned_squares: PrunedSquares,
}

/// The results of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDone {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Norm of the gradient before clipping; an estimate of its value in exact training.
    pub norm: GradNorm,
    /// Images in the batch.
    pub n_images: u64,
    /// Images in the batch that were classified correctly.
    pub n_correct: u64,
}

impl<'a> Run<'a> {
    /// A run with SGD, a cosine learning rate and cross-entropy, with the numbers of the recipe. It has no validation
    /// images.
    ///
    /// To use another optimizer, learning rate or loss, assign the field. The numbers of the recipe for the replaced
    /// part then have no effect:
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

    /// Runs one training step on a batch: masks, forward pass, backward pass, clipping, optimizer.
    ///
    /// With several ranks, each rank receives the whole batch and computes its own part.
    ///
    /// # Errors
    /// [`TrainError`] if the loss or the gradient is not finite, a computation fails, or another rank has ended.
    pub fn step(&mut self, step: Step, batch: Batch, lr: f64) -> Result<StepDone, TrainError> {
        let n_images = batch.len();
        let part = match self.ranks.images(n_images) {
            Some(images) => batch.part(images),
            None => batch,
        };
        self.step_of(step, part, n_images, lr)
    }

    /// As [`step`](Self::step), with `part` as this rank's images of a batch of `n_images`.
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
        // Each rank computes the loss of the whole batch.
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

    /// Loss and accuracy on the test images, with the current weights. Every rank computes them separately.
    ///
    /// # Errors
    /// As [`evaluate`], or if a weight cannot be read.
    pub fn test_now(&self) -> Result<Evaluation, TrainError> {
        self.on(self.test)
    }

    /// Loss and accuracy on the validation images, with the current weights, or `None` without such images. Every rank
    /// computes them separately.
    ///
    /// # Errors
    /// As [`Run::test_now`].
    pub fn validation_now(&self) -> Result<Option<Evaluation>, TrainError> {
        self.validation.map(|split| self.on(split)).transpose()
    }

    fn on(&self, split: &Loader) -> Result<Evaluation, TrainError> {
        let gates = self.refreshed()?.0;
        evaluate(self.model, &gates, split, &*self.loss, self.device, &self.kernels)
    }

    /// Gates for evaluating the current weights, and the counts of kept weights. A dense run has no report.
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

/// The error for a value that is not finite. It names the first place with such a value: the batch, a parameter, or the
/// output of a layer in a second forward pass.
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
    // All ranks must take the same branch, because all of them take part in the second pass.
    let place = if ranks.any(!is_finite(images)?)? {
        "the batch holds values that are not finite".to_string()
    // The failed pass has already changed the running statistics, so the values in buffers prove nothing.
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
