//! Building a pruner.

use crate::{
    DeadFilters, DropPolicy, PrunedUpdate, Pruner, Quantile, Remainder,
    allocation::{Allocation, Global},
    criterion::{Criterion, Magnitude},
    error::PruneError,
    renewal::{Cut, Renewal},
    structure::{Single, Structure},
};
use candle_core::Var;
use taper_core::{LayerInfo, Step};
use taper_kernels::threshold::Threshold;
use taper_scale::GradientScale;
use taper_schedule::{Cadence, SparsitySchedule};

/// Choices of a [`Pruner`]; what is not said is as in Feather, with exact counts.
#[derive(Debug)]
pub struct PrunerBuilder {
    pub(crate) layers: Vec<(LayerInfo, Var)>,
    pub(crate) schedule: Box<dyn SparsitySchedule>,
    pub(crate) total_steps: u64,
    pub(crate) threshold: Threshold,
    pub(crate) criterion: Box<dyn Criterion>,
    pub(crate) allocation: Box<dyn Allocation>,
    pub(crate) structure: Box<dyn Structure>,
    pub(crate) quantile: Quantile,
    pub(crate) renewal: Box<dyn Renewal>,
    pub(crate) remainder: Remainder,
    pub(crate) dead_filters: DeadFilters,
    pub(crate) probes: Vec<Step>,
}

impl PrunerBuilder {
    pub(crate) fn new(
        layers: Vec<(LayerInfo, Var)>,
        schedule: Box<dyn SparsitySchedule>,
        total_steps: u64,
    ) -> Self {
        Self {
            layers,
            schedule,
            total_steps,
            threshold: Threshold::FEATHER,
            criterion: Box::new(Magnitude),
            allocation: Box::new(Global),
            structure: Box::new(Single),
            quantile: Quantile::default(),
            renewal: Box::new(Cut::EVERY_STEP),
            remainder: Remainder::default(),
            dead_filters: DeadFilters::default(),
            probes: Vec::new(),
        }
    }

    /// The operator on kept weights.
    #[must_use]
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.threshold = threshold;
        self
    }

    /// What weights are worth.
    #[must_use]
    pub fn criterion(mut self, criterion: impl Criterion + 'static) -> Self {
        self.criterion = Box::new(criterion);
        self
    }

    /// What becomes of pruned weights.
    #[must_use]
    pub fn remainder(mut self, remainder: Remainder) -> Self {
        self.remainder = remainder;
        self
    }

    /// The share of the gradient that pruned weights receive: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn gradient(mut self, gradient: impl GradientScale + 'static) -> Self {
        self.remainder.gradient = Box::new(gradient);
        self
    }

    /// How the sparsity is spread over the layers.
    #[must_use]
    pub fn allocation(mut self, allocation: impl Allocation + 'static) -> Self {
        self.allocation = Box::new(allocation);
        self
    }

    /// What stands or falls together.
    #[must_use]
    pub fn structure(mut self, structure: impl Structure + 'static) -> Self {
        self.structure = Box::new(structure);
        self
    }

    /// How cuts are found.
    #[must_use]
    pub fn quantile(mut self, quantile: Quantile) -> Self {
        self.quantile = quantile;
        self
    }

    /// How masks change.
    #[must_use]
    pub fn renewal(mut self, renewal: impl Renewal + 'static) -> Self {
        self.renewal = Box::new(renewal);
        self
    }

    /// The steps at which masks are chosen anew: a [`renewal`](Self::renewal) by [`Cut`].
    #[must_use]
    pub fn cadence(self, cadence: Cadence) -> Self {
        self.renewal(Cut { cadence })
    }

    /// When and from what the gradient of pruned weights is computed: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn pruned_update(mut self, update: PrunedUpdate) -> Self {
        self.remainder.update = update;
        self
    }

    /// Which pruned weights leave for good: a part of the [`remainder`](Self::remainder).
    #[must_use]
    pub fn drop(mut self, policy: DropPolicy) -> Self {
        self.remainder.drop = Some(policy);
        self
    }

    /// What becomes of filters that have lost every weight.
    #[must_use]
    pub fn dead_filters(mut self, choice: DeadFilters) -> Self {
        self.dead_filters = choice;
        self
    }

    /// Follows the weights that are pruned at these steps; see [`Pruner::fates`].
    #[must_use]
    pub fn probe_at(mut self, steps: Vec<Step>) -> Self {
        self.probes = steps;
        self
    }

    /// Checks the choices once.
    ///
    /// # Errors
    /// [`PruneError`] if there are no layers, the target cannot be met, or a choice is out of range.
    pub fn build(self) -> Result<Pruner, PruneError> {
        Pruner::from_builder(self)
    }
}
