//! Queries of a pruner, and `bake`, which consumes it.

use crate::{
    DeadFilters, Fate, LayerReport, PrunedUpdate, Pruner, Report,
    choose::LayerCut,
    count::{kept_by, n_kept},
    dead::{Filters, dead_filters},
    error::PruneError,
};
use taper_core::{LayerId, LayerInfo, MaskFeedback, Sparsity};
use taper_nn::{Gates, ops::threshold};
use taper_scale::PrunedGrad;

impl Pruner {
    /// The prunable layers.
    pub fn layers(&self) -> impl Iterator<Item = &LayerInfo> {
        self.choices.infos()
    }

    /// The sparsity imposed in the current step. While masks keep extra weights under a soft bound, it is the
    /// sparsity of the masks.
    pub fn sparsity(&self) -> Sparsity {
        if self.budget.is_none() || self.choices.renewal.exceeds_until().is_none() {
            return self.sparsity;
        }
        let count = |(kept, n): (u64, u64), cut: &LayerCut| {
            (kept + cut.mask.n_kept(), n + cut.mask.len() as u64)
        };
        let (n_kept, n) = self.cut.iter().fold((0, 0), count);
        Sparsity::of(n_kept, n)
    }

    /// The sparsity at the end of the schedule.
    pub fn target(&self) -> Sparsity {
        self.choices.target()
    }

    /// The largest magnitude threshold of all layers, 0 while dense. If all layers are ranked together, they share one
    /// threshold.
    pub fn cut(&self) -> f32 {
        self.cut.iter().fold(0.0, |max, cut| cut.at.max(max))
    }

    /// Number of weights whose gradient is computed in the current step; a gradient scale of 0 does not count.
    pub fn n_live(&self) -> u64 {
        let layers = self.live.iter().zip(self.choices.infos());
        let n_live = layers.map(|(live, info)| match live {
            Some(live) => live.n_kept(),
            None => info.n_weights(),
        });
        n_live.sum()
    }

    /// Counts of the mask update in the current step; `None` if masks were held.
    pub fn feedback(&self) -> Option<&MaskFeedback> {
        self.feedback.as_ref()
    }

    /// The mask change that the schedule observed in the current step, over its window; `None` if it observed none.
    pub fn told_feedback(&self) -> Option<&MaskFeedback> {
        self.told_feedback.as_ref()
    }

    /// Time of an adaptive schedule in the current step, in steps of the plain ramp.
    pub fn clock(&self) -> Option<f64> {
        self.choices.schedule.clock(self.step)
    }

    /// Smoothed mask churn of an adaptive schedule; `None` before its first observation.
    pub fn instability(&self) -> Option<f64> {
        self.choices.schedule.instability()
    }

    /// The gradient scale of pruned weights in the current step. With a per-layer policy, it is the scale of a layer
    /// with the sparsity of the network.
    pub fn pruned_grad(&self) -> PrunedGrad {
        self.choices.pruned_grad(self.step, self.sparsity)
    }

    /// When and from what the gradient of pruned weights is computed. The result is not always the exact gradient:
    /// gradient clipping must account for this in the norm that clips kept weights.
    pub fn pruned_update(&self) -> PrunedUpdate {
        self.choices.remainder.update
    }

    /// How dead filters are treated.
    pub fn dead_filter_choice(&self) -> DeadFilters {
        self.choices.dead_filters
    }

    /// The dead filters of each layer in the current step: indices of output channels of convolutions without a kept
    /// weight.
    pub fn dead_filters(&self) -> Vec<Vec<usize>> {
        let layers = self.choices.infos().zip(&self.cut);
        layers.map(|(info, cut)| dead_filters(info, &cut.mask)).collect()
    }

    /// What became of the weights that were pruned at the steps of [`probe_at`](crate::PrunerBuilder::probe_at). The
    /// current masks are those of [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn fates(&self) -> Result<Vec<Fate>, PruneError> {
        Ok(self.history.fates(&self.refreshed()?.0))
    }

    /// Counts of the current step.
    pub fn report(&self) -> Report {
        self.report_of(&self.cut, &self.n_kept)
    }

    /// The gates of [`refresh`](Self::refresh), and the counts of their kept weights.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn refresh_counted(&self) -> Result<(Gates, Report), PruneError> {
        let (cut, gates) = self.refreshed()?;
        let n_kept = kept_by(self.choices.vars(), &gates)?;
        Ok((gates, self.report_of(&cut, &n_kept)))
    }

    /// Writes the pruned weights into the variables, and returns the number of zeros in the variables. It applies the
    /// gates of [`refresh`](Self::refresh); a variable without a gate is not written.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step), or if a variable cannot be written.
    pub fn bake(self) -> Result<u64, PruneError> {
        let gates = self.refresh()?;
        let mut n_zeros = 0;
        for (i, var) in self.choices.vars().enumerate() {
            if let Some(gate) = gates.get(LayerId(i)) {
                var.set(&threshold(var, gate)?)?;
            }
            n_zeros += var.elem_count() as u64 - n_kept(var, None)?;
        }
        Ok(n_zeros)
    }

    fn report_of(&self, cut: &[LayerCut], n_kept: &[u64]) -> Report {
        let layer = |(i, (info, cut)): (usize, (&LayerInfo, &LayerCut))| LayerReport {
            info: info.clone(),
            n_kept: n_kept[i],
            n_dropped: self.dropped.as_ref().map_or(0, |dropped| dropped[i].n_kept()),
            n_filters: Filters::of(info).n() as u64,
            n_dead_filters: dead_filters(info, &cut.mask).len() as u64,
        };
        Report { layers: self.choices.infos().zip(cut).enumerate().map(layer).collect() }
    }
}
