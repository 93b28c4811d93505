//! A suite of two rows from Rust: its runs in this process, its table, its report.

use anyhow::Result;
use taper_experiment::{Callbacks, Ended, Experiment, Training};
use taper_suite::{
    Job, Launch, Launcher, Order, RunOutcome, StopRequest, Suite, SuiteEnd, summary,
};

/// Makes runs in this process.
struct Here;

impl Launcher for Here {
    fn resolve(&self, job: &Job) -> Result<serde_json::Value> {
        Experiment::given(Some(&job.experiment), &job.set_shared, &job.settings())?
            .resolve()?
            .settings()
    }

    fn run(&self, job: &Job, launch: &Launch) -> Result<RunOutcome> {
        let experiment =
            Experiment::given(Some(&job.experiment), &job.set_shared, &job.settings())?;
        let training = Training { resume: true, ..Training::new(experiment.resolve()?) };
        Ok(match training.out(launch.folder).run(Callbacks::default())? {
            Ended::Finished { .. } => RunOutcome::Finished,
            Ended::Interrupted { .. } => RunOutcome::Interrupted,
        })
    }
}

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("taper-example-suite");
    let suite = Suite::load(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/suite").as_ref())?;
    let order = Order::new(suite, &folder);
    let plan = order.plan(&Here)?;
    if let SuiteEnd::Gathered { results, folder } =
        plan.make(&Here, &mut (), &StopRequest::default())?
    {
        println!("{}\n{}", summary::console(&results), folder.join("report.html").display());
    }
    Ok(())
}
