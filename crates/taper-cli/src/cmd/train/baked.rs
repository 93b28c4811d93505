//! A trained network with its zeros in place.

use super::Setup;
use crate::source;
use taper::{
    prune::{Fate, Report},
    train::{Analysis, Run, analyse, checkpoint::PrunedCheckpoint},
};

/// A network with its zeros in place.
pub(super) struct Baked {
    pub(super) report: Report,
    pub(super) fates: Vec<Fate>,
    pub(super) analysis: Analysis,
    pub(super) checkpoint: PrunedCheckpoint,
}

impl Baked {
    /// Writes the zeros of a run into its network.
    pub(super) fn of(mut run: Run, setup: &Setup) -> anyhow::Result<Self> {
        let (mut report, mut fates) = (Report::default(), Vec::new());
        if let Some(pruner) = run.pruner.take() {
            report = pruner.refresh_counted()?.1;
            fates = pruner.fates()?;
            pruner.bake()?;
        }
        let analysis = analyse(run.model, setup.architecture.image)?;
        let checkpoint = PrunedCheckpoint::of(
            run.model,
            &setup.architecture.name,
            setup.data.classes.len(),
            analysis.sparsity().get(),
            source::with_source(setup.record.clone(), &setup.data),
        );
        Ok(Self { report, fates, analysis, checkpoint })
    }
}
