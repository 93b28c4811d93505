//! What a pruner can be asked, and its end.

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

    /// The sparsity that the schedule asked for in the step last begun; that of the masks while they exceed it.
    pub fn sparsity(&self) -> Sparsity {
        if self.budget.is_none() {
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

    /// The largest cut among the layers, 0 while dense: the one cut there is if layers are ranked together.
    pub fn cut(&self) -> f32 {
        self.cut.iter().fold(0.0, |max, cut| cut.at.max(max))
    }

    /// Weights that get a gradient in the step last begun.
    pub fn n_live(&self) -> u64 {
        let layers = self.live.iter().zip(self.choices.infos());
        let n_live = layers.map(|(live, info)| match live {
            Some(live) => live.n_kept(),
            None => info.n_weights(),
        });
        n_live.sum()
    }

    /// What the last refresh in [`begin_step`](Self::begin_step) changed; `None` if masks were held.
    pub fn feedback(&self) -> Option<&MaskFeedback> {
        self.feedback.as_ref()
    }

    /// What the schedule was told in the last step begun: the change over its window, if that was over.
    pub fn told_feedback(&self) -> Option<&MaskFeedback> {
        self.told_feedback.as_ref()
    }

    /// What the clock of an adaptive schedule showed in the last step begun, in steps of the plain ramp.
    pub fn clock(&self) -> Option<f64> {
        self.choices.schedule.clock(self.step)
    }

    /// The instability that an adaptive schedule goes by, once it has heard of a change.
    pub fn instability(&self) -> Option<f64> {
        self.choices.schedule.instability()
    }

    /// The factors on the gradient of pruned weights in the last step begun; where a policy has others for each layer,
    /// those for a layer as sparse as the network.
    pub fn pruned_grad(&self) -> PrunedGrad {
        self.choices.pruned_grad(self.step, self.sparsity)
    }

    /// When and from what the gradient of pruned weights is computed: what is computed is not always what exact training
    /// has, which a norm that kept weights are clipped by must account for.
    pub fn pruned_update(&self) -> PrunedUpdate {
        self.choices.remainder.update
    }

    /// What becomes of dead filters.
    pub fn dead_filter_choice(&self) -> DeadFilters {
        self.choices.dead_filters
    }

    /// The dead filters of each layer in the step last begun: output channels of convolutions that have lost every
    /// weight.
    pub fn dead_filters(&self) -> Vec<Vec<usize>> {
        let layers = self.choices.infos().zip(&self.cut);
        layers.map(|(info, cut)| dead_filters(info, &cut.mask)).collect()
    }

    /// What has become by now of the weights that were pruned at the steps of
    /// [`probe_at`](crate::PrunerBuilder::probe_at); the present masks are those of [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn fates(&self) -> Result<Vec<Fate>, PruneError> {
        Ok(self.history.fates(&self.refreshed()?.0))
    }

    /// Counts of the last step begun.
    pub fn report(&self) -> Report {
        self.report_of(&self.cut, &self.n_kept)
    }

    /// The gates of [`refresh`](Self::refresh), and the counts of what they keep.
    ///
    /// # Errors
    /// As [`begin_step`](Self::begin_step).
    pub fn refresh_counted(&self) -> Result<(Gates, Report), PruneError> {
        let (cut, gates) = self.refreshed()?;
        let n_kept = kept_by(self.choices.vars(), &gates)?;
        Ok((gates, self.report_of(&cut, &n_kept)))
    }

    /// Writes the pruned weights into the variables, and returns how many zeros they hold. The weights are
    /// those of a fresh [`refresh`](Self::refresh); without a gate nothing is written.
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
