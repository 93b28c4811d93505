//! A trained network with its pruned weights set to 0.

use crate::{setup::Setup, source};
use taper::{
    prune::{Fate, Report},
    train::{Analysis, Run, analyse, checkpoint::PrunedCheckpoint},
};

/// A trained network with its pruned weights set to 0, and what was measured on it.
pub(crate) struct Baked {
    pub(crate) report: Report,
    pub(crate) fates: Vec<Fate>,
    pub(crate) analysis: Analysis,
    pub(crate) checkpoint: PrunedCheckpoint,
}

impl Baked {
    /// Sets the pruned weights in the network of a run to 0.
    pub(crate) fn of(mut run: Run, setup: &Setup) -> anyhow::Result<Self> {
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
