//! Gathers finished runs into results.

use crate::{
    bands::Band,
    collect,
    results::{FailedRun, Manifest, Results, SCHEMA},
    runs::{RunState, RunsFolder},
    suite::{Job, Suite},
    taken::Sources,
};
use std::{io::ErrorKind, path::Path};
use taper_record::{
    RecordError,
    results::{Made, ResultsKind},
};

/// The manifest of a suite's results, before runs are gathered.
pub(crate) fn manifest(
    suite: &Suite,
    made: Made,
    bands: Vec<Band>,
    failed: Vec<FailedRun>,
) -> Manifest {
    Manifest {
        schema: SCHEMA,
        kind: ResultsKind::Suite,
        suite: suite.name.clone(),
        title: suite.title.clone(),
        made,
        seeds: suite.seeds,
        baseline: suite.baseline.clone(),
        pooled_deviation: suite.pooled_deviation,
        rows: suite.rows(),
        bands,
        failed,
        machines: Vec::new(),
        taken: Vec::new(),
    }
}

/// Gathers all finished runs of the suite, chosen or not, and runs from other results. A run folder that cannot be read
/// counts as failed.
pub(crate) fn gather(
    manifest: Manifest,
    jobs: &[Job],
    sources: &Sources,
    runs: &RunsFolder,
    dir: &Path,
) -> Results {
    let mut results = Results {
        manifest,
        runs: vec![],
        curves: vec![],
        steps: vec![],
        layers: vec![],
        fates: vec![],
    };
    for job in jobs {
        if runs.state(&job.key) != RunState::Finished {
            sources.add(&mut results, job, dir);
            continue;
        }
        if let Err(error) = collect::add(&mut results, job, &runs.run(&job.key), dir) {
            // If the folder cannot be read now, or only by a later version, its run is not lost.
            let is_intact = match error.downcast_ref() {
                Some(RecordError::Io { source, .. }) => source.kind() != ErrorKind::NotFound,
                other => matches!(other, Some(RecordError::Later { .. })),
            };
            let remedy = if is_intact { "" } else { "; delete the run folder to repeat the run" };
            let reason = format!("{error:#}{remedy}");
            results.manifest.failed.push(FailedRun::of(job, reason, Vec::new()));
        }
    }
    results
}
