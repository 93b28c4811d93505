//! Choices that exclude each other.

use crate::{
    DropRule, InitialScale, Part, PruneError, PrunedUpdate, Quantile,
    choices::Choices,
    criterion::{Criterion, View},
    renewal::Moment,
};
use taper_core::{LayerId, LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_scale::{Now, PrunedGrad};

impl Choices {
    /// Refuses choices that exclude each other, whatever the layers.
    pub(crate) fn check_together(&self) -> Result<(), PruneError> {
        let rules = [
            self.without_measure(),
            self.without_cut(),
            self.without_gradient(),
            self.without_memory(),
            self.without_change(),
            self.without_end(),
            self.without_begin(),
        ];
        match rules.into_iter().flatten().next() {
            None => Ok(()),
            Some((first, second, reason)) => Err(PruneError::Together { first, second, reason }),
        }
    }

    /// Choices that need a cut, or single weights, where there is none.
    fn without_cut(&self) -> Option<(Part, Part, &'static str)> {
        let has_magnitude = gives_magnitudes(&*self.criterion);
        let is_single = self.structure.is_single();
        let has_quota =
            self.infos().any(|info| self.structure.quota(info, self.schedule.target()).is_some());
        let shrinks = self.operator.needs_cut();
        let is_near_cut = self.gradients().iter().any(|grad| grad.at_zero != grad.at_cut);
        let drops_smallest =
            self.remainder.drop.is_some_and(|drop| drop.rule == DropRule::Smallest);
        let rules = [
            (
                shrinks && !self.renewal.is_top_k(),
                (Part::Threshold, Part::Renewal),
                "masks that are swapped or held have no cut to shrink weights by; choose the hard threshold, or masks that are cut",
            ),
            (
                shrinks && !is_single,
                (Part::Threshold, Part::Structure),
                "weights that are kept together have no cut to shrink them by; choose the hard threshold, or single weights",
            ),
            (
                shrinks && !has_magnitude,
                (Part::Threshold, Part::Criterion),
                "scores that are no magnitudes give no cut to shrink weights by; choose the hard threshold, or magnitudes",
            ),
            (
                has_quota && self.renewal.grows_by().is_some(),
                (Part::Structure, Part::Renewal),
                "a swap leaves each group of a pattern as it is; choose another structure, or masks that are held",
            ),
            (
                !is_single && self.quantile == Quantile::Interpolated,
                (Part::Structure, Part::Quantile),
                "weights that are kept together are counted, not cut; choose the exact quantile, or single weights",
            ),
            (
                is_near_cut && !has_magnitude,
                (Part::Gradient, Part::Criterion),
                "scores that are no magnitudes give no cut to be near to; choose a gradient that is the same for all pruned weights, or magnitudes",
            ),
            (
                is_near_cut && !is_single,
                (Part::Gradient, Part::Structure),
                "weights that are kept together have no cut to be near to; choose a gradient that is the same for all pruned weights, or single weights",
            ),
            (
                drops_smallest && !has_magnitude,
                (Part::Drop, Part::Criterion),
                "scores that are no magnitudes give no cut that the smallest weights could be relative to; drop others first, or choose magnitudes",
            ),
            (
                drops_smallest && !is_single,
                (Part::Drop, Part::Structure),
                "weights that are kept together have no cut that the smallest could be relative to; drop others first, or choose single weights",
            ),
        ];
        broken(rules)
    }

    /// Criteria that measure the network where masks cannot wait for that.
    fn without_measure(&self) -> Option<(Part, Part, &'static str)> {
        let measures = |criterion: &dyn Criterion| criterion.measure().is_some();
        let (is_measured, grow) = (measures(&*self.criterion), self.renewal.grows_by());
        let begins_measured = self.renewal.begins_by().is_some_and(measures);
        let is_hard = self.operator.threshold() == Some(Threshold::Hard);
        let swapped = "weights are swapped by what a step gives, and GraSP and SynFlow measure the network before it; choose them for \
                       the first masks alone, or masks that are held";
        let rules = [
            (grow.is_some_and(measures), (Part::Growth, Part::Renewal), swapped),
            (is_measured && self.has_swaps(), (Part::Criterion, Part::Renewal), swapped),
            (
                is_measured && !self.renewal.holds(),
                (Part::Criterion, Part::Renewal),
                "criteria that measure the network, such as GraSP and SynFlow, choose masks now and then; choose masks that are held",
            ),
            (
                !is_hard && (is_measured || begins_measured),
                (Part::Threshold, Part::Criterion),
                "criteria that measure the network, such as GraSP and SynFlow, see weights as they are; choose the hard threshold",
            ),
        ];
        broken(rules)
    }

    /// Criteria that remember gradients where there are none yet, or others.
    fn without_memory(&self) -> Option<(Part, Part, &'static str)> {
        let (criterion, grow) = (self.criterion.remembers(), self.renewal.grows_by());
        let grow = grow.is_some_and(Criterion::remembers);
        let begins_by = self.renewal.begins_by();
        // Masks that are chosen at step 0, before any gradient.
        let is_at_once = !self.schedule.sparsity(Step::ZERO).is_dense();
        let remembering = if criterion { Part::Criterion } else { Part::Growth };
        let is_any = criterion || grow;
        let rules = [
            (
                criterion && begins_by.is_none() && is_at_once,
                (Part::Criterion, Part::Schedule),
                "a criterion that remembers gradients has seen none at the first step; begin the schedule later, or swap masks that begin by another \
                 criterion",
            ),
            (
                begins_by.is_some_and(Criterion::remembers),
                (Part::Begin, Part::Renewal),
                "a criterion that remembers gradients has seen none when the first masks are chosen; begin by another one",
            ),
            (
                is_any && self.remainder.update != PrunedUpdate::EveryStep,
                (remembering, Part::Update),
                "a criterion that remembers gradients needs all of them; compute the gradient of pruned weights exactly, or choose another criterion",
            ),
        ];
        broken(rules)
    }

    /// Choices about the gradient of pruned weights that have none.
    fn without_gradient(&self) -> Option<(Part, Part, &'static str)> {
        let remainder = &self.remainder;
        let is_zero = remainder.is_zero;
        let rules = [
            (
                is_zero && self.gradients().iter().any(|grad| *grad != PrunedGrad::NONE),
                (Part::Gradient, Part::Remainder),
                "pruned weights that are 0 have no gradient; choose a gradient of 0, or let them live",
            ),
            (
                is_zero && remainder.update != PrunedUpdate::EveryStep,
                (Part::Update, Part::Remainder),
                "pruned weights that are 0 have no gradient to compute now and then; leave one of the two out",
            ),
            (
                is_zero && !self.operator.moves_zeros() && !self.renewal_holds_for_good(),
                (Part::Threshold, Part::Remainder),
                "a weight that enters at 0 has no gradient behind a power, so it would stay there; choose the hard threshold, or let pruned weights live",
            ),
            (
                is_zero && self.renewal.is_top_k() && scores_zeros(&*self.criterion),
                (Part::Criterion, Part::Remainder),
                "pruned weights that are 0 would be chosen again by scores that do not depend on their values; hold the masks, or choose magnitudes",
            ),
            (
                is_zero && remainder.drop.is_some(),
                (Part::Drop, Part::Remainder),
                "pruned weights that are 0 cannot be dropped as well; leave one of the two out",
            ),
        ];
        broken(rules)
    }

    /// Whether weights never enter masks: those of a schedule that does not fall are only chosen from what is left.
    fn renewal_holds_for_good(&self) -> bool {
        !self.has_swaps() && !self.renewal.is_top_k()
    }

    /// Steps that move no weight, or masks that do not answer.
    fn without_change(&self) -> Option<(Part, Part, &'static str)> {
        let target = self.schedule.target();
        let in_two = |changes: &dyn Fn(Step) -> bool| changes(Step(1)) && changes(Step(2));
        let chooses = |step| {
            let moment = Moment { step, imposed: target, wanted: target, target };
            self.renewal.chooses(&moment)
        };
        let swaps = |step| self.renewal.swaps(step).is_some();
        let (is_renewed, is_swapped) = (in_two(&chooses), in_two(&swaps));
        let grows_by_gradient = self.renewal.grows_by().is_some_and(Criterion::needs_gradient);
        let init = self.renewal.grow_init();
        let has_momentum = init.is_some_and(|init| init.momentum > 0.0);
        let begins_by_gradient = init.is_some_and(|init| init.needs_gradient());
        // On the way to the target, at a step at which masks of every cadence are chosen.
        let halfway = Sparsity::saturating(target.get() / 2.0);
        let begin = Moment { step: Step::ZERO, imposed: halfway, wanted: halfway, target };
        let is_held = !self.renewal.chooses(&begin) && !self.has_swaps();
        let reason = "a step whose gradients choose masks moves no weight, and every step would be one; choose masks every 2 steps or more \
                      seldom, or a criterion that needs no gradient";
        let rules = [
            (
                self.criterion.needs_gradient() && (is_renewed || is_swapped),
                (Part::Criterion, Part::Cadence),
                reason,
            ),
            (grows_by_gradient && is_swapped, (Part::Growth, Part::Cadence), reason),
            (has_momentum && is_swapped, (Part::Momentum, Part::Cadence), reason),
            (begins_by_gradient && is_swapped, (Part::GrowInit, Part::Cadence), reason),
            (
                is_held && self.schedule.clock(Step::ZERO).is_some(),
                (Part::Clock, Part::Renewal),
                "a clock that waits for masks to settle learns nothing of masks that are held; choose a schedule without it, or masks that are cut",
            ),
        ];
        broken(rules)
    }

    /// Masks that would be denser than the target after the last step.
    fn without_end(&self) -> Option<(Part, Part, &'static str)> {
        let until = self.renewal.exceeds_until();
        let rules = [
            (
                until.is_some() && self.renewal.is_static(),
                (Part::Bound, Part::Growth),
                "weights that enter again exceed no sparsity; choose a criterion of growth, or a hard bound",
            ),
            (
                until.is_some_and(|until| until.0 >= self.total_steps && self.total_steps > 0),
                (Part::Bound, Part::SwapEnd),
                "masks may exceed the target until swaps end, which must be before the last step; let swaps end earlier, or choose a hard \
                 bound",
            ),
        ];
        broken(rules)
    }

    /// Initial weights that are scaled for masks which come later, change, or see other values.
    fn without_begin(&self) -> Option<(Part, Part, &'static str)> {
        let is_scaled = self.initial_scale != InitialScale::None;
        let rules = [
            (
                is_scaled && self.schedule.sparsity(Step::ZERO).is_dense(),
                (Part::InitialScale, Part::Schedule),
                "initial weights are scaled for masks that are chosen at step 0, and the schedule begins dense; let it begin sparse, or leave \
                 initial weights as they are",
            ),
            (
                is_scaled && self.renewal.is_top_k(),
                (Part::InitialScale, Part::Renewal),
                "initial weights are scaled for masks that stay at first, and these are chosen anew; choose masks that are held or swapped, \
                 or leave initial weights as they are",
            ),
            (
                is_scaled && self.operator.threshold() != Some(Threshold::Hard),
                (Part::InitialScale, Part::Threshold),
                "initial weights are scaled as they are, and the threshold changes kept weights; choose the hard threshold, or leave initial \
                 weights as they are",
            ),
        ];
        broken(rules)
    }

    /// Whether weights are swapped at all.
    fn has_swaps(&self) -> bool {
        self.renewal.grows_by().is_some() || self.renewal.is_static()
    }

    /// The factors of the gradient scale at both ends of a run, and of the sparsity.
    fn gradients(&self) -> [PrunedGrad; 4] {
        let target = self.schedule.target();
        let ends = [(Sparsity::DENSE, 0.0), (Sparsity::DENSE, 1.0), (target, 0.0), (target, 1.0)];
        ends.map(|(achieved, progress)| {
            self.remainder.gradient.at(&Now { achieved, target, progress })
        })
    }
}

/// Two parts, whether they exclude each other, and why.
type Rule = (bool, (Part, Part), &'static str);

/// The first rule that is broken.
fn broken<const N: usize>(rules: [Rule; N]) -> Option<(Part, Part, &'static str)> {
    let found = rules.into_iter().find(|(is_broken, ..)| *is_broken);
    found.map(|(_, (first, second), reason)| (first, second, reason))
}

/// Whether a weight of 0 without a gradient may rank above others.
fn scores_zeros(criterion: &dyn Criterion) -> bool {
    if criterion.measure().is_some() || criterion.needs_gradient() || criterion.remembers() {
        return false;
    }
    asked_of(&[1.0, 0.0], |view| criterion.scores(view).get(1).is_some_and(|score| *score != 0.0))
}

/// Whether scores of a criterion say how large a weight is.
fn gives_magnitudes(criterion: &dyn Criterion) -> bool {
    asked_of(&[1.0], |view| criterion.magnitude(view, 1.0).is_some())
}

/// What is said of a layer of one output with these weights, before the first step.
fn asked_of<T>(weights: &[f32], ask: impl FnOnce(&View) -> T) -> T {
    let (name, kind, shape) = (String::new(), LayerKind::Linear, vec![1, weights.len()]);
    let (id, info, step) = (LayerId(0), LayerInfo { name, kind, shape }, Step::ZERO);
    ask(&View { id, info: &info, weights, gradient: None, step })
}
