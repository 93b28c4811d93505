//! Estimates how long runs will take, from finished runs.

use crate::runs::RunsFolder;
use crate::suite::Job;
use taper_record::RunFiles;
use taper_report::stats::median;

/// Times of the finished runs of a suite, on any machine.
pub(crate) struct Speeds {
    measured: Vec<MeasuredRun>,
}

/// A finished run.
struct MeasuredRun {
    row: String,
    sparsity: Option<f64>,
    /// Seconds per step.
    seconds: f64,
    /// Steps per epoch; fewer if a limit of steps ended the last epoch.
    steps: f64,
}

impl Speeds {
    /// Reads the finished runs in a folder.
    pub(crate) fn of(runs: &RunsFolder, jobs: &[Job]) -> Self {
        let measured = jobs.iter().filter_map(|job| {
            let result = RunFiles::new(&runs.run(&job.key)).result().ok()??;
            let above_0 = |number: f64| (number > 0.0).then_some(number);
            let (steps, epochs) = (above_0(result.steps as f64)?, above_0(result.epochs as f64)?);
            let (seconds, steps) = (above_0(result.seconds)? / steps, steps / epochs);
            Some(MeasuredRun { row: job.row.clone(), sparsity: job.sparsity, seconds, steps })
        });
        Self { measured: measured.collect() }
    }

    /// Number of finished runs that were measured.
    pub(crate) fn len(&self) -> usize {
        self.measured.len()
    }

    /// Remaining seconds of a job: from runs of its row and sparsity, else of its sparsity, else from all runs. `None`
    /// without finished runs, or if the length of the job is not known.
    pub(crate) fn seconds_left(&self, runs: &RunsFolder, job: &Job) -> Option<f64> {
        let of = |is_like: &dyn Fn(&MeasuredRun) -> bool| {
            let like: Vec<&MeasuredRun> = self.measured.iter().filter(|run| is_like(run)).collect();
            let middle =
                |of: fn(&MeasuredRun) -> f64| median(like.iter().map(|run| of(run)).collect());
            (!like.is_empty()).then(|| (middle(|run| run.seconds), middle(|run| run.steps)))
        };
        let (seconds, per_epoch) = of(&|run| run.row == job.row && run.sparsity == job.sparsity)
            .or_else(|| of(&|run| run.sparsity == job.sparsity))
            .or_else(|| of(&|_| true))?;
        let by_epochs = job.epochs.map(|epochs| epochs as f64 * per_epoch);
        let by_steps = job.max_steps.map(|steps| steps as f64);
        let steps = by_epochs.into_iter().chain(by_steps).reduce(f64::min)?;
        let done = runs.epochs_done(&job.key) as f64 * per_epoch;
        Some((steps - done).max(0.0) * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(row: &str, sparsity: f64) -> Job {
        crate::testing::job(row, sparsity, 0)
    }

    fn runs_in(folder: &tempfile::TempDir) -> RunsFolder {
        RunsFolder::of(folder.path(), "s")
    }

    /// A folder in which these jobs have run, with their seconds, steps and epochs.
    fn finished(runs: &[(&Job, [u32; 3])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (job, [seconds, steps, epochs]) in runs {
            let run = runs_in(&folder).run(&job.key);
            std::fs::create_dir_all(&run).expect("a folder");
            let result = serde_json::json!({
                "model": "m", "data": "d", "seconds": seconds, "steps": steps, "epochs": epochs,
                "n_params": 1, "bytes_dense": 4, "bytes_file": 9, "sparsity": 0.0, "n_prunable": 1, "n_kept": 1,
                "macs_dense": 1, "macs_sparse": 1, "layers": [],
            });
            std::fs::write(run.join("result.json"), result.to_string()).expect("writes");
        }
        folder
    }

    #[test]
    fn the_most_similar_finished_runs_give_the_estimate() {
        let jobs = [job("a", 0.9), job("a", 0.95), job("b", 0.95), job("b", 0.9), job("c", 0.5)];
        let runs = [20, 40, 60].map(|seconds| [seconds, 1000, 10]);
        let folder = finished(&jobs.iter().zip(runs).collect::<Vec<_>>());
        let speeds = Speeds::of(&runs_in(&folder), &jobs);
        assert_eq!(speeds.len(), 3);
        let left = |job: &Job| speeds.seconds_left(&runs_in(&folder), job);
        assert_eq!(left(&job("a", 0.95)), Some(40.0), "its own row and sparsity");
        assert_eq!(left(&jobs[3]), Some(20.0), "another row of its sparsity");
        assert_eq!(left(&jobs[4]), Some(40.0), "the median of all");
        std::fs::create_dir(runs_in(&folder).run(&jobs[3].key)).expect("a folder");
        let half = "epoch\n0\n1\n2\n3\n4\n";
        std::fs::write(runs_in(&folder).run(&jobs[3].key).join("metrics.csv"), half)
            .expect("writes");
        assert_eq!(left(&jobs[3]), Some(10.0), "five of ten epochs are done");
        assert_eq!(
            Speeds::of(&runs_in(&folder), &[]).seconds_left(&runs_in(&folder), &jobs[0]),
            None
        );
    }

    #[test]
    fn a_limit_of_steps_ends_a_run_and_its_estimate() {
        let limited = |row: &str, max_steps| Job { max_steps: Some(max_steps), ..job(row, 0.9) };
        let whole = job("a", 0.9);
        let folder = finished(&[(&whole, [20, 1000, 10])]);
        let speeds = Speeds::of(&runs_in(&folder), std::slice::from_ref(&whole));
        let left = |job: &Job| speeds.seconds_left(&runs_in(&folder), job);
        assert_eq!(left(&limited("b", 250)), Some(5.0));
        assert_eq!(left(&limited("b", 5000)), Some(20.0), "its epochs end before");
        let without_epochs = Job { epochs: None, ..limited("b", 250) };
        assert_eq!(left(&without_epochs), Some(5.0));
        assert_eq!(left(&Job { epochs: None, ..job("b", 0.9) }), None);

        // From a run that was limited itself, in the middle of its second epoch.
        let limited = limited("a", 150);
        let folder = finished(&[(&limited, [3, 150, 2])]);
        let speeds = Speeds::of(&runs_in(&folder), std::slice::from_ref(&limited));
        let other = Job { key: "other".into(), ..limited };
        assert_eq!(speeds.seconds_left(&runs_in(&folder), &other), Some(3.0));
    }
}
