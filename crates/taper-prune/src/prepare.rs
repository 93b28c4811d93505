//! Before a step: measuring the network where its masks are chosen by more than weights and a gradient.

use crate::{
    Pruner, PrunerBuilder,
    criterion::Criterion,
    error::PruneError,
    measure::{GradientOracle, Measured},
    pruner::LayerCut,
    renewal::Moment,
};
use candle_core::Tensor;
use taper_core::{Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_nn::ops::with_values;

/// What was measured for a step.
#[derive(Debug)]
pub(crate) struct Prepared {
    step: Step,
    sparsity: Sparsity,
    cut: Vec<LayerCut>,
}

impl Pruner {
    /// Chooses the masks of `step`, if the step is to choose any by a criterion that [measures](Criterion::measure) the network,
    /// such as GraSP or SynFlow; in other steps it does nothing. A training loop with such a criterion calls it before the begin of
    /// each step.
    ///
    /// No weight is changed. What was measured serves this one step: masks are held from then on, so a run that is resumed
    /// behind it measures nothing.
    ///
    /// ```
    /// use candle_core::{DType, Device, Result, Tensor, Var};
    /// use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
    /// use taper_kernels::threshold::Threshold;
    /// use taper_prune::{GradientOracle, Pruner, Remainder, criterion::SynFlow, renewal::Hold};
    /// use taper_schedule::{Curve, Ramp};
    ///
    /// /// One linear layer of four inputs.
    /// struct Network;
    ///
    /// impl GradientOracle for Network {
    ///     fn flow(&mut self, weights: &[Tensor]) -> Result<Vec<Tensor>> {
    ///         let weight = Var::from_tensor(&weights[0])?;
    ///         let ones = Tensor::ones((1, 4), DType::F64, &Device::Cpu)?;
    ///         let grads = ones.matmul(&weight.t()?)?.sum_all()?.backward()?;
    ///         Ok(grads.get(&weight).cloned().into_iter().collect())
    ///     }
    /// }
    ///
    /// let weight = Var::new(&[[0.1f32, -0.9, 0.5, 0.2]], &Device::Cpu)?;
    /// let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![1, 4] };
    /// let once = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.5)?);
    /// let mut pruner = Pruner::builder([(info, weight)], once, 100)
    ///     .threshold(Threshold::Hard)
    ///     .criterion(SynFlow { rounds: 2 })
    ///     .renewal(Hold)
    ///     .remainder(Remainder::zero())
    ///     .build()?;
    /// for step in 0..3 {
    ///     pruner.prepare(Step(step), &mut Network)?; // measures before step 0 alone
    ///     pruner.begin_step(Step(step))?; // …
    /// }
    /// assert_eq!(pruner.report().n_kept(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PruneError::Step`] if a later step was begun before, [`PruneError::Preparation`] if the network does not give what the
    /// criterion needs.
    pub fn prepare(
        &mut self,
        step: Step,
        network: &mut dyn GradientOracle,
    ) -> Result<(), PruneError> {
        if step < self.step {
            return Err(PruneError::Step { step: step.0, last: self.step.0 });
        }
        let sparsity = self.choices.schedule.sparsity(step);
        if self.to_measure(step).is_none() {
            return Ok(());
        }
        self.hold_zeros()?;
        // Criteria see the step that is prepared.
        let last = std::mem::replace(&mut self.step, step);
        let cut = self.measured(sparsity, network);
        self.step = last;
        self.prepared = Some(Prepared { step, sparsity, cut: cut? });
        Ok(())
    }

    /// The criterion that measures the network before a step, if one does.
    fn to_measure(&self, step: Step) -> Option<&dyn Criterion> {
        let (imposed, wanted) = (self.sparsity, self.choices.schedule.sparsity(step));
        let moment = Moment { step, imposed, wanted, target: self.target() };
        let is_asked = !wanted.is_dense() && self.choices.renewal.chooses(&moment);
        let begins_by = self.choices.renewal.begins_by().filter(|_| imposed.is_dense());
        let criterion = begins_by.unwrap_or(&*self.choices.criterion);
        (is_asked && criterion.measure().is_some()).then_some(criterion)
    }

    /// Masks by what the network gives, at a density that falls by the same factor in each round.
    fn measured(
        &self,
        wanted: Sparsity,
        network: &mut dyn GradientOracle,
    ) -> Result<Vec<LayerCut>, PruneError> {
        let tensors: Vec<&Tensor> = self.vars().map(|var| var.as_tensor()).collect();
        // A copy: the network reads the weights meanwhile.
        let weights: Vec<Vec<f32>> =
            with_values(&tensors, |w| w.iter().map(|w| w.to_vec()).collect())?;
        let mut cut = self.cut.clone();
        let Some(criterion) = self.to_measure(self.step) else { return Ok(cut) };
        let Some(measure) = criterion.measure() else { return Ok(cut) };
        let rounds = measure.rounds().max(1);
        for round in 1..=rounds {
            let layers = self.layers().zip(&weights).zip(&cut);
            let layers: Vec<Measured> = layers
                .map(|((info, weights), cut)| Measured { info, weights, mask: &cut.mask })
                .collect();
            let scores = measure.measure(network, &layers)?;
            if !scores.iter().map(Vec::len).eq(weights.iter().map(Vec::len)) {
                let reason = format!("{criterion:?} gives no score for each weight");
                return Err(PruneError::Preparation { reason });
            }
            let sparsity = match round == rounds {
                true => wanted,
                false => {
                    let share = f64::from(round) / f64::from(rounds);
                    Sparsity::saturating(1.0 - libm::pow(1.0 - wanted.get(), share))
                }
            };
            cut = self.choose(sparsity, criterion, Some(&scores))?;
        }
        Ok(cut)
    }

    /// What was measured for a step, if it was for this sparsity.
    fn prepared_for(&self, step: Step, sparsity: Sparsity) -> Option<&Prepared> {
        self.prepared.as_ref().filter(|p| p.step == step && p.sparsity == sparsity)
    }

    /// Refuses a step whose masks need what was not measured.
    pub(crate) fn check_prepared(&self, step: Step) -> Result<(), PruneError> {
        let wanted = self.choices.schedule.sparsity(step);
        let missing = self.to_measure(step).filter(|_| self.prepared_for(step, wanted).is_none());
        match missing {
            Some(criterion) => {
                let reason = format!(
                    "step {step} chooses masks by {criterion:?}, which measures the network; call Pruner::prepare before the step"
                );
                Err(PruneError::Preparation { reason })
            }
            None => Ok(()),
        }
    }

    /// The masks of the step begun: those that were prepared, or chosen by the weights.
    pub(crate) fn chosen(
        &self,
        sparsity: Sparsity,
        criterion: &dyn Criterion,
    ) -> Result<Vec<LayerCut>, PruneError> {
        match self.prepared_for(self.step, sparsity) {
            Some(prepared) if criterion.measure().is_some() => Ok(prepared.cut.clone()),
            _ => self.choose(sparsity, criterion, None),
        }
    }
}

impl PrunerBuilder {
    /// Refuses a criterion that measures the network where masks cannot wait for that.
    pub(crate) fn check_measures(&self) -> Result<(), PruneError> {
        let measures = |criterion: &dyn Criterion| criterion.measure().is_some();
        let refuse = |reason: &str| Err(PruneError::Renewal { reason: reason.into() });
        let grow = self.renewal.grows_by();
        if grow.is_some_and(|grow| measures(grow) || measures(&*self.criterion)) {
            return refuse(
                "weights are swapped by what a step gives, and GraSP and SynFlow measure the network before it; choose them for the \
                 first masks alone, or masks that are held",
            );
        }
        let is_shrunk = self.threshold != Threshold::Hard;
        if measures(&*self.criterion) && (is_shrunk || !self.renewal.holds()) {
            return refuse(
                "criteria that measure the network, such as GraSP and SynFlow, choose masks now and then; choose masks that are held, \
                 and the hard threshold",
            );
        }
        Ok(())
    }
}
