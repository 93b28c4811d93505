//! How long runs will take, by those that are finished.

use crate::runner;
use crate::suite::Job;
use std::path::Path;
use taper_report::stats::median;

/// Seconds of an epoch, measured by finished runs of a suite on whatever machine made them.
pub(crate) struct Speeds {
    /// Row, sparsity, and seconds of an epoch.
    measured: Vec<(String, Option<f64>, f64)>,
}

impl Speeds {
    /// Those of the finished runs in a folder.
    pub(crate) fn of(folder: &Path, jobs: &[Job]) -> Self {
        let measured = jobs.iter().filter_map(|job| {
            let text = std::fs::read(folder.join(&job.key).join("result.json")).ok()?;
            let result: serde_json::Value = serde_json::from_slice(&text).ok()?;
            let (seconds, epochs) = (result["seconds"].as_f64()?, result["epochs"].as_f64()?);
            (epochs > 0.0).then(|| (job.row.clone(), job.sparsity, seconds / epochs))
        });
        Self { measured: measured.collect() }
    }

    /// Finished runs that were measured.
    pub(crate) fn len(&self) -> usize {
        self.measured.len()
    }

    /// Seconds that are left of a job: by runs of its row and sparsity, else of its sparsity, else by all. `None` if there
    /// are none, or the job's length is not known.
    pub(crate) fn seconds_left(&self, folder: &Path, job: &Job) -> Option<f64> {
        let epochs = job.epochs?.saturating_sub(runner::epochs_done(&folder.join(&job.key)));
        let of = |is_like: &dyn Fn(&str, Option<f64>) -> bool| {
            let found = self.measured.iter().filter(|(row, sparsity, _)| is_like(row, *sparsity));
            Some(median(found.map(|(.., seconds)| *seconds).collect())).filter(|s| s.is_finite())
        };
        let seconds = of(&|row, sparsity| row == job.row && sparsity == job.sparsity)
            .or_else(|| of(&|_, sparsity| sparsity == job.sparsity))
            .or_else(|| of(&|_, _| true))?;
        Some(epochs as f64 * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(row: &str, sparsity: f64) -> Job {
        Job {
            key: format!("{row}-{sparsity}"),
            row: row.into(),
            sparsity: Some(sparsity),
            seed: 0,
            experiment: "x.toml".into(),
            set: Vec::new(),
            epochs: Some(10),
        }
    }

    #[test]
    fn the_nearest_finished_runs_say_how_long_a_run_takes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let jobs = [job("a", 0.9), job("a", 0.95), job("b", 0.95), job("b", 0.9), job("c", 0.5)];
        for (job, seconds) in jobs.iter().zip([20.0, 40.0, 60.0]) {
            let run = folder.path().join(&job.key);
            std::fs::create_dir(&run).expect("a folder");
            let result = format!("{{\"seconds\": {seconds}, \"epochs\": 10}}");
            std::fs::write(run.join("result.json"), result).expect("writes");
        }
        let speeds = Speeds::of(folder.path(), &jobs);
        assert_eq!(speeds.len(), 3);
        let left = |job: &Job| speeds.seconds_left(folder.path(), job);
        assert_eq!(left(&job("a", 0.95)), Some(40.0), "its own row and sparsity");
        assert_eq!(left(&jobs[3]), Some(20.0), "another row of its sparsity");
        assert_eq!(left(&jobs[4]), Some(40.0), "the middle of all");
        std::fs::create_dir(folder.path().join(&jobs[3].key)).expect("a folder");
        let half = "epoch\n0\n1\n2\n3\n4\n";
        std::fs::write(folder.path().join(&jobs[3].key).join("metrics.csv"), half).expect("writes");
        assert_eq!(left(&jobs[3]), Some(10.0), "five of ten epochs are done");
        assert_eq!(Speeds::of(folder.path(), &[]).seconds_left(folder.path(), &jobs[0]), None);
    }
}
