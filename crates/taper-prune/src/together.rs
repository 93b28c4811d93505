//! Choices that exclude each other.

use crate::{
    DropRule, InitialScale, Part, PruneError, PrunedUpdate, Quantile,
    choices::Choices,
    criterion::{Criterion, View},
    renewal::Moment,
};
use std::ops::Range;
use taper_core::{LayerId, LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_scale::{Now, PrunedGrad};

impl Choices {
    /// Rejects choices that exclude each other, for any layers.
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

    /// Choices that need a magnitude threshold or single weights, combined with choices that have none.
    fn without_cut(&self) -> Option<(Part, Part, &'static str)> {
        let has_magnitude = gives_magnitudes(&*self.criterion);
        let is_single = self.structure.is_single();
        let fits = |info: &&LayerInfo| self.structure.check(info).is_ok();
        let quota = |info: &LayerInfo| self.structure.quota(info, self.schedule.target());
        let has_quota = self.infos().filter(fits).any(|info| quota(info).is_some());
        let shrinks = self.operator.needs_cut();
        let is_near_cut = self.gradients().iter().any(|grad| grad.at_zero != grad.at_cut);
        let drops_smallest =
            self.remainder.drop.is_some_and(|drop| drop.rule == DropRule::Smallest);
        let rules = [
            (
                shrinks && !self.renewal.is_top_k(),
                (Part::Threshold, Part::Renewal),
                "masks that are held or from prune-and-regrow have no magnitude threshold to shrink weights by; choose hard thresholding, or top-k masks",
            ),
            (
                shrinks && !is_single,
                (Part::Threshold, Part::Structure),
                "structured masks have no magnitude threshold to shrink weights by; choose hard thresholding, or single weights",
            ),
            (
                shrinks && !has_magnitude,
                (Part::Threshold, Part::Criterion),
                "these scores are not magnitudes and give no threshold to shrink weights by; choose hard thresholding, or a magnitude criterion",
            ),
            (
                has_quota && self.renewal.grows_by().is_some(),
                (Part::Structure, Part::Renewal),
                "prune-and-regrow cannot change the groups of a pattern; choose another structure, or masks that are held",
            ),
            (
                !is_single && self.quantile == Quantile::Interpolated,
                (Part::Structure, Part::Quantile),
                "structured masks are chosen by count, not by a threshold; choose the exact quantile, or single weights",
            ),
            (
                is_near_cut && !has_magnitude,
                (Part::Gradient, Part::Criterion),
                "these scores are not magnitudes and give no threshold to measure the distance to; choose the same gradient scale for all pruned weights, or a magnitude criterion",
            ),
            (
                is_near_cut && !is_single,
                (Part::Gradient, Part::Structure),
                "structured masks have no magnitude threshold to measure the distance to; choose the same gradient scale for all pruned weights, or single weights",
            ),
            (
                drops_smallest && !has_magnitude,
                (Part::Drop, Part::Criterion),
                "these scores are not magnitudes and give no threshold to compare the smallest weights with; choose another drop rule, or a magnitude criterion",
            ),
            (
                drops_smallest && !is_single,
                (Part::Drop, Part::Structure),
                "structured masks have no magnitude threshold to compare the smallest weights with; choose another drop rule, or single weights",
            ),
        ];
        broken(rules)
    }

    /// Criteria that measure the network, combined with masks that cannot wait for the measurement.
    fn without_measure(&self) -> Option<(Part, Part, &'static str)> {
        let measures = |criterion: &dyn Criterion| criterion.measure().is_some();
        let (is_measured, grow) = (measures(&*self.criterion), self.renewal.grows_by());
        let begins_measured = self.renewal.begins_by().is_some_and(measures);
        let is_hard = self.operator.threshold() == Some(Threshold::Hard);
        let swapped = "prune-and-regrow uses scores of the current step, but GraSP and SynFlow measure the network before it; choose them \
                       only for the first masks, or choose masks that are held";
        let rules = [
            (grow.is_some_and(measures), (Part::Growth, Part::Renewal), swapped),
            (is_measured && self.has_swaps(), (Part::Criterion, Part::Renewal), swapped),
            (
                is_measured && !self.renewal.holds(),
                (Part::Criterion, Part::Renewal),
                "criteria that measure the network, such as GraSP and SynFlow, cannot choose masks in every step; choose masks that are held",
            ),
            (
                !is_hard && (is_measured || begins_measured),
                (Part::Threshold, Part::Criterion),
                "criteria that measure the network, such as GraSP and SynFlow, use weights without an operator; choose hard thresholding",
            ),
        ];
        broken(rules)
    }

    /// Criteria that accumulate gradients, if there are none yet or they are not exact.
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
                "a criterion that accumulates gradients has none at the first step; begin the schedule later, from an initial sparsity of 0, or use prune-and-regrow with \
                 another criterion for the first masks",
            ),
            (
                begins_by.is_some_and(Criterion::remembers),
                (Part::Begin, Part::Renewal),
                "a criterion that accumulates gradients has none when the first masks are chosen; choose another criterion for them",
            ),
            (
                is_any && self.remainder.update != PrunedUpdate::EveryStep,
                (remembering, Part::Update),
                "a criterion that accumulates gradients needs the exact gradients of all steps; compute the gradient of pruned weights exactly, or choose another criterion",
            ),
        ];
        broken(rules)
    }

    /// Choices that need the gradient of pruned weights, combined with pruned weights that are 0.
    fn without_gradient(&self) -> Option<(Part, Part, &'static str)> {
        let remainder = &self.remainder;
        let is_zero = remainder.is_zero;
        let rules = [
            (
                is_zero && self.gradients().iter().any(|grad| *grad != PrunedGrad::NONE),
                (Part::Gradient, Part::Remainder),
                "pruned weights that are 0 have no gradient; choose a gradient scale of 0, or keep their dense values",
            ),
            (
                is_zero && remainder.update != PrunedUpdate::EveryStep,
                (Part::Update, Part::Remainder),
                "pruned weights that are 0 have no gradient to compute; leave one of the two out",
            ),
            (
                is_zero && !self.operator.moves_zeros() && !self.renewal_holds_for_good(),
                (Part::Threshold, Part::Remainder),
                "this operator gives a weight of 0 no gradient, so weights that are regrown from 0 would stay 0; choose hard thresholding, or keep the dense values of pruned weights",
            ),
            (
                is_zero && self.renewal.is_top_k() && scores_zeros(&*self.criterion),
                (Part::Criterion, Part::Remainder),
                "pruned weights that are 0 would be chosen again by scores that do not depend on their values; hold the masks, or choose a magnitude criterion",
            ),
            (
                is_zero && remainder.drop.is_some(),
                (Part::Drop, Part::Remainder),
                "pruned weights that are 0 cannot be dropped as well; leave one of the two out",
            ),
        ];
        broken(rules)
    }

    /// Whether pruned weights never return: with a schedule that does not fall, masks are only chosen from the
    /// remaining weights.
    fn renewal_holds_for_good(&self) -> bool {
        let falls = || {
            let mut highest = Sparsity::DENSE;
            self.samples().flatten().any(|step| {
                let sparsity = self.schedule.sparsity(Step(step));
                let is_lower = sparsity < highest;
                highest = if is_lower { highest } else { sparsity };
                is_lower
            })
        };
        !self.has_swaps() && !self.renewal.is_top_k() && !falls()
    }

    /// Steps that are checked: those of the whole run, or evenly spaced ranges of a run of more than 100,000 steps.
    pub(crate) fn samples(&self) -> impl Iterator<Item = Range<u64>> {
        let total = self.total_steps.max(MOST_IN_A_ROW as u64 + 1);
        let (n, length) = if total <= 100_000 { (1, total) } else { (1000, 100) };
        (0..n).map(move |i| total / n * i).map(move |begin| begin..begin + length)
    }

    /// Whether steps choose masks, and whether they swap weights, if an adaptive schedule observes nothing.
    fn actions(&self, steps: Range<u64>) -> impl Iterator<Item = [bool; 2]> {
        let target = self.schedule.target();
        let before = steps.start.checked_sub(1).map(Step);
        let mut imposed = before.map_or(Sparsity::DENSE, |step| self.schedule.sparsity(step));
        steps.map(Step).map(move |step| {
            let wanted = self.schedule.sparsity(step);
            let chooses = self.renewal.chooses(&Moment { step, imposed, wanted, target });
            if chooses {
                imposed = wanted;
            }
            let swaps = self.renewal.swaps(step).is_some();
            [chooses, swaps].map(|acts| acts && !imposed.is_dense())
        })
    }

    /// Choices with which many steps in a row skip the optimizer, or an adaptive schedule observes masks that are held.
    fn without_change(&self) -> Option<(Part, Part, &'static str)> {
        let target = self.schedule.target();
        let many = |acts: fn([bool; 2]) -> bool| {
            self.samples().any(|steps| in_a_row(self.actions(steps).map(acts)))
        };
        let swaps = || many(|[_, swaps]| swaps);
        let grows_by_gradient = self.renewal.grows_by().is_some_and(Criterion::needs_gradient);
        let init = self.renewal.grow_init();
        let has_momentum = init.is_some_and(|init| init.momentum > 0.0);
        let begins_by_gradient = init.is_some_and(|init| init.needs_gradient());
        let skips = self.criterion.needs_gradient() && many(|[chooses, swaps]| chooses || swaps);
        let halfway = Sparsity::saturating(target.get() / 2.0);
        // Steps of the same sparsity.
        let chooses = |step| {
            self.renewal.chooses(&Moment { step, imposed: halfway, wanted: halfway, target })
        };
        // Every cadence chooses masks at step 0.
        let is_held = !chooses(Step::ZERO) && !self.has_swaps();
        let is_always = (0..=MOST_IN_A_ROW as u64).map(Step).all(chooses);
        let reason = "a step that chooses masks by its gradients skips the optimizer, and many steps in a row would do so; choose masks less \
                      often, or by a criterion that needs no gradient";
        let rules = [
            (skips && (is_always || swaps()), (Part::Criterion, Part::Cadence), reason),
            // These masks are chosen whenever the schedule changes.
            (skips, (Part::Criterion, Part::Ramp), reason),
            (grows_by_gradient && swaps(), (Part::Growth, Part::Cadence), reason),
            (has_momentum && swaps(), (Part::Momentum, Part::Cadence), reason),
            (begins_by_gradient && swaps(), (Part::GrowInit, Part::Cadence), reason),
            (
                is_held && self.schedule.clock(Step::ZERO).is_some(),
                (Part::Clock, Part::Renewal),
                "masks that are held have no churn for an adaptive schedule to observe; choose a schedule without adaptation, or top-k masks",
            ),
        ];
        broken(rules)
    }

    /// Masks that would keep extra weights after the last step.
    fn without_end(&self) -> Option<(Part, Part, &'static str)> {
        let until = self.renewal.exceeds_until();
        let rules = [
            (
                until.is_some() && self.renewal.is_static(),
                (Part::Bound, Part::Growth),
                "without a growth criterion there are no extra weights; choose a growth criterion, or a hard bound",
            ),
            (
                until.is_some_and(|until| until.0 >= self.total_steps && self.total_steps > 0),
                (Part::Bound, Part::SwapEnd),
                "masks may keep extra weights until prune-and-regrow ends, which must be before the last step; end it earlier, or choose a \
                 hard bound",
            ),
            (
                until.zip(self.operator.frozen_from()).is_some_and(|(until, from)| until >= from),
                (Part::Bound, Part::SwapEnd),
                "masks may keep extra weights until prune-and-regrow ends, which must be before the operator makes them final; end it earlier, \
                 or choose a hard bound",
            ),
        ];
        broken(rules)
    }

    /// Scaling of initial weights, combined with first masks that come later or change, or with an operator that
    /// changes values.
    fn without_begin(&self) -> Option<(Part, Part, &'static str)> {
        let is_scaled = self.initial_scale != InitialScale::None;
        let rules = [
            (
                is_scaled && self.schedule.sparsity(Step::ZERO).is_dense(),
                (Part::InitialScale, Part::Schedule),
                "initial weights are scaled for the masks of step 0, but the schedule begins dense; begin it sparse, or do not scale \
                 initial weights",
            ),
            (
                is_scaled && self.renewal.is_top_k(),
                (Part::InitialScale, Part::Renewal),
                "initial weights are scaled for the first masks, but top-k masks are chosen again; choose masks that are held, or \
                 prune-and-regrow, or do not scale initial weights",
            ),
            (
                is_scaled && self.operator.threshold() != Some(Threshold::Hard),
                (Part::InitialScale, Part::Threshold),
                "initial weights are scaled, but this operator changes kept weights; choose hard thresholding, or do not scale initial \
                 weights",
            ),
        ];
        broken(rules)
    }

    /// Whether there is prune-and-regrow.
    fn has_swaps(&self) -> bool {
        self.renewal.grows_by().is_some() || self.renewal.is_static()
    }

    /// The gradient scale at the start and at the end of a run, for sparsity 0 and for the target.
    fn gradients(&self) -> [PrunedGrad; 4] {
        let target = self.schedule.target();
        let ends = [(Sparsity::DENSE, 0.0), (Sparsity::DENSE, 1.0), (target, 0.0), (target, 1.0)];
        ends.map(|(achieved, progress)| {
            self.remainder.gradient.at(&Now { achieved, target, progress })
        })
    }
}

/// Steps in a row that may skip the optimizer: a step before the schedule reaches its target, the step that reaches it,
/// and the next one.
const MOST_IN_A_ROW: usize = 3;

/// Whether more steps in a row are `true` than may skip the optimizer.
fn in_a_row(steps: impl Iterator<Item = bool>) -> bool {
    let mut n = 0;
    steps.into_iter().any(|is_true| {
        n = if is_true { n + 1 } else { 0 };
        n > MOST_IN_A_ROW
    })
}

/// Whether a rule is broken, the two parts that exclude each other, and why.
type Rule = (bool, (Part, Part), &'static str);

/// The first rule that is broken.
fn broken<const N: usize>(rules: [Rule; N]) -> Option<(Part, Part, &'static str)> {
    let found = rules.into_iter().find(|(is_broken, ..)| *is_broken);
    found.map(|(_, (first, second), reason)| (first, second, reason))
}

/// Whether a weight of 0 may rank above others: by its gradient, or by gradients of earlier steps.
fn scores_zeros(criterion: &dyn Criterion) -> bool {
    if criterion.measure().is_some() {
        return false;
    }
    asked_of(&[1.0, 0.0], |view| {
        let view = View { gradient: Some(&[1.0, 1.0]), ..*view };
        criterion.scores(&view).get(1).is_some_and(|score| *score != 0.0)
    })
}

/// Whether the scores of a criterion correspond to weight magnitudes.
fn gives_magnitudes(criterion: &dyn Criterion) -> bool {
    asked_of(&[1.0], |view| criterion.magnitude(view, 1.0).is_some())
}

/// The result of `ask` for a layer of one output with these weights, before the first step.
fn asked_of<T>(weights: &[f32], ask: impl FnOnce(&View) -> T) -> T {
    let (name, kind, shape) = (String::new(), LayerKind::Linear, vec![1, weights.len()]);
    let (id, info, step) = (LayerId(0), LayerInfo { name, kind, shape }, Step::ZERO);
    ask(&View { id, info: &info, weights, gradient: None, step })
}
