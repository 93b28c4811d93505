//! Rejects keys that exclude each other, or do not fit the network.

use super::{PruneSpec, Resolved, parts::pattern};
use crate::error::usage;
use serde_json::Value;
use taper::{
    data::Dataset,
    nn::Params,
    prune::{Part, PruneError, Pruner, allocation::AllocationError},
};

/// Number of classes for the check before the data is read, if the name of the data set does not give it.
const CLASSES: usize = 10;
/// Number of steps of a run of unknown length: enough to give every phase of a schedule its own step.
const MANY_STEPS: u64 = 1 << 30;
/// Number of steps of a short run.
const FEW_STEPS: u64 = 50;

impl Resolved {
    /// Builds a pruner for the network's layers without values, to reject wrong combinations before the data is read.
    /// If the data set is a folder, checks that depend on the number of classes are left to the run.
    pub(super) fn check_together(&self) -> anyhow::Result<()> {
        if self.is_dense() {
            return Ok(());
        }
        check_pattern(self.prune())?;
        let known = Dataset::classes_of(self.data()).map(|classes| classes.len());
        let classes = known.unwrap_or(CLASSES);
        let model = self.architecture(classes)?.zeros(classes)?;
        match self.build_for_any_length(model.params())? {
            Err(error) if known.is_some() || is_of_any_classes(&error) => {
                Err(refusal(self.prune(), error))
            }
            _ => Ok(()),
        }
    }

    /// The pruner of a run of unknown length; `None` for a dense run. It is for masks that exist already: its schedule
    /// is not that of the run.
    ///
    /// # Errors
    /// If keys exclude each other, or do not fit the network.
    pub fn pruner_for_any_length(&self, params: &Params) -> anyhow::Result<Option<Pruner>> {
        if self.is_dense() {
            return Ok(None);
        }
        let built = self.build_for_any_length(params)?;
        Ok(Some(built.map_err(|error| refusal(self.prune(), error))?))
    }

    fn build_for_any_length(&self, params: &Params) -> anyhow::Result<Result<Pruner, PruneError>> {
        let build = |steps| Ok(self.builder(params, steps, 0)?.build());
        match build(MANY_STEPS)? {
            // Only the run knows how many steps a ramp has.
            Err(PruneError::Together { second: Part::Ramp, .. }) => build(FEW_STEPS),
            built => Ok(built),
        }
    }
}

/// Whether a pruner cannot be built for any number of classes.
fn is_of_any_classes(error: &PruneError) -> bool {
    match error {
        PruneError::Target { .. } => false,
        PruneError::Allocation(error) => matches!(error, AllocationError::NoMatch { .. }),
        _ => true,
    }
}

/// Rejects a sparsity that differs from the sparsity of the pattern.
fn check_pattern(p: &PruneSpec) -> anyhow::Result<()> {
    let (Some(structure), Some(asked)) = (&p.structure, p.sparsity) else { return Ok(()) };
    match pattern(structure).map(|pattern| pattern.sparsity().get()) {
        Some(has) if (has - asked).abs() > 1e-9 => Err(usage(format!(
            "prune.sparsity is {asked}, but prune.structure {structure} has a sparsity of {has}; leave prune.sparsity out, or choose \
             another structure"
        ))),
        _ => Ok(()),
    }
}

/// Converts an error of the pruner to a message that names keys of the experiment.
pub(super) fn refusal(p: &PruneSpec, error: PruneError) -> anyhow::Error {
    match error {
        PruneError::Together { first, second, reason } => {
            let (first, second) = (said(p, first), said(p, second));
            usage(format!("{first}, but {second}: {reason}"))
        }
        PruneError::Structure { reason } => {
            let structure = p.structure.as_deref().unwrap_or_default();
            usage(format!(
                "prune.structure `{structure}`: {reason} (prune.pins = {{ \"NAME\" = 0 }})"
            ))
        }
        PruneError::Allocation(error @ AllocationError::NoMatch { .. }) => {
            usage(format!("prune.pins or prune.allocation: {error}"))
        }
        other => usage(other),
    }
}

/// A key and its value, as text.
fn said(p: &PruneSpec, part: Part) -> String {
    let (key, unsaid) = match part {
        Part::Threshold => ("threshold", ""),
        Part::Criterion => ("criterion", "magnitude"),
        Part::Structure => ("structure", "single"),
        Part::Quantile => ("quantile", "exact"),
        Part::Renewal => ("renewal", "top-k"),
        Part::Growth => ("grow", "gradient"),
        Part::GrowInit => ("grow_init", "zero"),
        Part::Momentum => ("grow_momentum", "0"),
        Part::Bound => ("swap_bound", "hard"),
        Part::SwapEnd => ("swap_end", "0.75"),
        Part::Begin => ("begin_by", ""),
        Part::Schedule | Part::Ramp => ("schedule", ""),
        Part::Cadence => ("refresh_every", "1"),
        Part::Clock => ("adapt", "none"),
        Part::Remainder => ("remainder", "alive"),
        Part::InitialScale => ("initial_scale", "none"),
        Part::Gradient => ("gradient", ""),
        Part::Update => ("pruned_gradient", "exact"),
        Part::Drop => ("drop", "none"),
        _ => ("method", ""),
    };
    let value = match serde_json::to_value(p).map(|p| p[key].clone()) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) | Err(_) => unsaid.into(),
        Ok(other) => other.to_string(),
    };
    format!("prune.{key} is {value}")
}
