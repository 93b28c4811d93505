//! The parts of a pruner, and checks that they fit together.

use crate::{
    DeadFilters, InitialScale, Quantile, Remainder,
    allocation::{Allocation, Global},
    criterion::{Criterion, Magnitude, View},
    error::PruneError,
    operator::Operator,
    renewal::{InitialValue, Moment, Renewal, TopK},
    structure::{Single, Structure},
    weight,
};
use candle_core::{Tensor, Var};
use taper_core::{LayerId, LayerInfo, Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_scale::{Now, PrunedGrad};
use taper_schedule::SparsitySchedule;

/// The weights to prune, and a choice for each part of pruning. Defaults are those of Feather, with exact counts.
#[derive(Debug)]
pub(crate) struct Choices {
    pub(crate) layers: Vec<(LayerInfo, Var)>,
    pub(crate) schedule: Box<dyn SparsitySchedule>,
    pub(crate) total_steps: u64,
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) criterion: Box<dyn Criterion>,
    pub(crate) allocation: Box<dyn Allocation>,
    pub(crate) structure: Box<dyn Structure>,
    pub(crate) quantile: Quantile,
    pub(crate) renewal: Box<dyn Renewal>,
    pub(crate) remainder: Remainder,
    pub(crate) initial_scale: InitialScale,
    pub(crate) dead_filters: DeadFilters,
    pub(crate) probes: Vec<Step>,
}

impl Choices {
    pub(crate) fn new(
        layers: Vec<(LayerInfo, Var)>,
        schedule: Box<dyn SparsitySchedule>,
        total_steps: u64,
    ) -> Self {
        Self {
            layers,
            schedule,
            total_steps,
            operator: Box::new(Threshold::FEATHER),
            criterion: Box::new(Magnitude),
            allocation: Box::new(Global),
            structure: Box::new(Single),
            quantile: Quantile::default(),
            renewal: Box::new(TopK::EVERY_STEP),
            remainder: Remainder::default(),
            initial_scale: InitialScale::default(),
            dead_filters: DeadFilters::default(),
            probes: Vec::new(),
        }
    }

    /// Rejects choices that are out of range or exclude each other.
    pub(crate) fn check(&self) -> Result<(), PruneError> {
        if self.layers.iter().all(|(info, _)| info.n_weights() == 0) {
            return Err(PruneError::NoLayers);
        }
        weight::check(&self.layers)?;
        self.remainder.check()?;
        let of_renewal = self.renewal.grows_by().into_iter().chain(self.renewal.begins_by());
        for criterion in of_renewal.chain([&*self.criterion]) {
            criterion.check().map_err(|reason| PruneError::Criterion { reason })?;
        }
        self.operator.check().map_err(|reason| PruneError::Operator { reason })?;
        self.renewal.check().map_err(|reason| PruneError::Renewal { reason })?;
        self.check_together()?;
        self.check_schedule()?;
        self.check_target()
    }

    fn check_schedule(&self) -> Result<(), PruneError> {
        let (target, total) = (self.target(), self.total_steps);
        let last = Step(total).previous();
        let reached = self.schedule.sparsity(last);
        if total > 0 && reached < target {
            let (reached, target) = (reached.get(), target.get());
            return Err(PruneError::NeverReached { reached, total, target });
        }
        if let Some(from) = self.operator.frozen_from() {
            // Gradients choose masks only after a step has begun.
            let by = if self.criterion.needs_gradient() { from.previous() } else { from };
            let is_below = |step| self.schedule.sparsity(step) < target;
            let is_late = self.schedule.deadline().is_some_and(|deadline| deadline > by);
            // Phases are below their target more than once.
            let mut later = self.samples().flatten().map(Step).filter(|&step| step > by);
            if is_late || is_below(by) || later.any(is_below) {
                let target = target.get();
                let reason = format!(
                    "masks are final from step {from}, but the schedule reaches its target {target} later; set this step after the end of the schedule"
                );
                return Err(PruneError::Operator { reason });
            }
        }
        // Without observations, an adaptive schedule follows the plain ramp, so the check above does not find a late
        // deadline.
        match self.schedule.deadline().filter(|&step| total > 0 && step > last) {
            Some(deadline) => Err(PruneError::Deadline { deadline: deadline.0, last: last.0 }),
            None => Ok(()),
        }
    }

    /// The criterion that chooses masks in a step.
    pub(crate) fn chooser(&self, now: &Moment) -> &dyn Criterion {
        let begins_by = self.renewal.begins_by().filter(|_| now.imposed.is_dense());
        begins_by.unwrap_or(&*self.criterion)
    }

    /// Whether regrown weights start with an initial value of the run.
    pub(crate) fn remembers_initial(&self) -> bool {
        self.renewal.grow_init().is_some_and(|init| init.value == InitialValue::Initial)
    }

    /// The sparsity at the end of the schedule.
    pub(crate) fn target(&self) -> Sparsity {
        self.schedule.target()
    }

    pub(crate) fn infos(&self) -> impl Iterator<Item = &LayerInfo> {
        self.layers.iter().map(|(info, _)| info)
    }

    pub(crate) fn vars(&self) -> impl Iterator<Item = &Var> {
        self.layers.iter().map(|(_, var)| var)
    }

    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        self.vars().map(|var| var.as_tensor()).collect()
    }

    /// Whether the operator decides which weights are kept.
    pub(crate) fn has_learned_cuts(&self) -> bool {
        (0..self.layers.len()).any(|layer| self.operator.cut(LayerId(layer)).is_some())
    }

    /// The gradient scale of pruned weights in a step with this sparsity.
    pub(crate) fn pruned_grad(&self, step: Step, achieved: Sparsity) -> PrunedGrad {
        let progress = match self.total_steps {
            0 => 1.0,
            total => (step.0 as f64 / total as f64).min(1.0),
        };
        self.remainder.gradient.at(&Now { achieved, target: self.target(), progress })
    }

    /// A layer as a criterion reads it.
    pub(crate) fn view<'a>(
        &'a self,
        id: LayerId,
        weights: &'a [f32],
        gradients: Option<&'a [Vec<f32>]>,
        step: Step,
    ) -> View<'a> {
        let info = &self.layers[id.0].0;
        View { id, info, weights, gradient: gradients.map(|gradients| &gradients[id.0][..]), step }
    }
}
