//! Building a pruner.

use crate::{
    DeadFilters, DropPolicy, PrunedUpdate, Pruner, Quantile,
    allocation::{Allocation, Global},
    error::PruneError,
};
use candle_core::Var;
use taper_core::{LayerInfo, Step};
use taper_kernels::threshold::Threshold;
use taper_scale::{FeatherRule, GradientScale};
use taper_schedule::{Cadence, SparsitySchedule};

/// Choices of a [`Pruner`]; what is not said is as in Feather, with exact counts.
#[derive(Debug)]
pub struct PrunerBuilder {
    pub(crate) layers: Vec<(LayerInfo, Var)>,
    pub(crate) schedule: Box<dyn SparsitySchedule>,
    pub(crate) total_steps: u64,
    pub(crate) threshold: Threshold,
    pub(crate) gradient: Box<dyn GradientScale>,
    pub(crate) allocation: Box<dyn Allocation>,
    pub(crate) quantile: Quantile,
    pub(crate) cadence: Cadence,
    pub(crate) update: PrunedUpdate,
    pub(crate) drop: Option<DropPolicy>,
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
            gradient: Box::new(FeatherRule),
            allocation: Box::new(Global),
            quantile: Quantile::default(),
            cadence: Cadence::EVERY_STEP,
            update: PrunedUpdate::default(),
            drop: None,
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

    /// The share of the gradient that pruned weights receive.
    #[must_use]
    pub fn gradient(mut self, gradient: impl GradientScale + 'static) -> Self {
        self.gradient = Box::new(gradient);
        self
    }

    /// How the sparsity is spread over the layers.
    #[must_use]
    pub fn allocation(mut self, allocation: impl Allocation + 'static) -> Self {
        self.allocation = Box::new(allocation);
        self
    }

    /// How cuts are found.
    #[must_use]
    pub fn quantile(mut self, quantile: Quantile) -> Self {
        self.quantile = quantile;
        self
    }

    /// When masks are refreshed.
    #[must_use]
    pub fn cadence(mut self, cadence: Cadence) -> Self {
        self.cadence = cadence;
        self
    }

    /// When and from what the gradient of pruned weights is computed.
    #[must_use]
    pub fn pruned_update(mut self, update: PrunedUpdate) -> Self {
        self.update = update;
        self
    }

    /// Which pruned weights leave for good.
    #[must_use]
    pub fn drop(mut self, policy: DropPolicy) -> Self {
        self.drop = Some(policy);
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
