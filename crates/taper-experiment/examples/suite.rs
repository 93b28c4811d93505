//! Runs a suite of two rows from Rust, in this process; prints its table and writes its report.

use anyhow::Result;
use std::path::Path;
use taper_experiment::{Callbacks, Ended, Experiment, Resolved, Training};
use taper_suite::{
    Job, Launch, Launcher, Order, RunOutcome, StopRequest, Suite, SuiteEnd, summary,
};

/// Runs experiments in this process.
struct Here;

fn experiment(job: &Job) -> Result<Resolved> {
    Experiment::given(Some(&job.experiment), &job.set_shared, &job.settings())?.resolve()
}

impl Launcher for Here {
    fn resolve(&self, job: &Job) -> Result<serde_json::Value> {
        experiment(job)?.settings()
    }

    fn run(&self, job: &Job, launch: &Launch) -> Result<RunOutcome> {
        let training = Training { resume: true, ..Training::new(experiment(job)?) };
        Ok(match training.out(launch.folder).run(Callbacks::default())? {
            Ended::Finished { .. } | Ended::Assisted => RunOutcome::Finished,
            Ended::Interrupted { .. } => RunOutcome::Interrupted,
        })
    }
}

/// Runs the suite in a folder; returns its table and the path of its report.
fn make(folder: &Path) -> Result<String> {
    let suite = Suite::load(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/suite").as_ref())?;
    let order = Order::new(suite, folder);
    match order.plan(&Here)?.make(&Here, &mut (), &StopRequest::default())? {
        SuiteEnd::Gathered { results, folder } => {
            Ok(format!("{}\n{}", summary::console(&results), folder.join("report.html").display()))
        }
        _ => anyhow::bail!("the suite stopped without a request to stop"),
    }
}

fn main() -> Result<()> {
    println!("{}", make(&std::env::temp_dir().join("taper-example-suite"))?);
    Ok(())
}

#[test]
fn two_rows_are_made_and_found_finished() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = make(folder.path()).expect("a suite");
    assert!(table.contains("GMP") && table.contains("of 2 results"), "{table}");
    let report = table.lines().last().expect("a path");
    assert!(std::fs::read_to_string(report).expect("a page").contains("Feather"));
    assert_eq!(make(folder.path()).expect("again"), table);
}
