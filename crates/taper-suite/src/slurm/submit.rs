//! Submits the scripts of a suite with `sbatch`.

use super::script::{Part, Submission};
use anyhow::{Context, Result, bail, ensure};
use std::{
    error::Error,
    fmt, fs, io,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};
use taper_host::Usage;

/// The queued array of jobs that execute the runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRuns {
    /// The id of the array.
    pub job: String,
    /// The script that gathers the results, relative to the folder.
    results: String,
}

/// An answer of `sbatch` without a job id, although it accepted the script. A job may be queued.
#[derive(Debug)]
pub(crate) struct NoJobId(String);

impl fmt::Display for NoJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`sbatch` printed `{}` instead of a job id; a job may be queued, which `squeue` shows",
            self.0
        )
    }
}

impl Error for NoJobId {}

impl Submission {
    /// Submits the runs.
    ///
    /// # Errors
    /// Errors of [`script`](Self::script); [`Usage`] if there is no `sbatch`, or it rejects the job; an error if the
    /// scripts cannot be written below `runs/`; an error if the answer of `sbatch` has no job id. Then the scripts
    /// remain, since a job may be queued.
    pub fn submit_runs(&self) -> Result<QueuedRuns> {
        self.submit_runs_with(Path::new("sbatch"))
    }

    /// Submits a job after the runs that gathers the results, and returns its id.
    ///
    /// # Errors
    /// If `sbatch` rejects the job. The runs stay queued.
    pub fn submit_results(&self, runs: &QueuedRuns) -> Result<String> {
        self.submit_results_with(Path::new("sbatch"), runs)
    }

    pub(super) fn submit_runs_with(&self, sbatch: &Path) -> Result<QueuedRuns> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{}/{}-{}", self.jobs(), now.as_nanos(), std::process::id());
        // The first script identifies this folder: a node may have another folder with the same name.
        let (token, results) = (format!("{name}.sh"), format!("{name}-results.sh"));
        let scripts = [
            (&token, self.script_of(Part::Runs, &token)?),
            (&results, self.script_of(Part::Results, &token)?),
        ];
        let create = |path: &Path| format!("cannot write {}", path.display());
        let jobs = self.folder.join(self.jobs());
        fs::create_dir_all(&jobs).with_context(|| create(&jobs))?;
        for (path, script) in scripts {
            let path = self.folder.join(path);
            fs::write(&path, script).with_context(|| create(&path))?;
        }
        let job = self.queue(sbatch, &token, None).inspect_err(|error| {
            for path in [&token, &results].into_iter().filter(|_| !error.is::<NoJobId>()) {
                // An unused script does no harm.
                let _ = fs::remove_file(self.folder.join(path));
            }
        })?;
        Ok(QueuedRuns { job, results })
    }

    pub(super) fn submit_results_with(&self, sbatch: &Path, runs: &QueuedRuns) -> Result<String> {
        let (job, afterwards) = (&runs.job, self.command("run")?);
        self.queue(sbatch, &runs.results, Some(job)).with_context(|| {
            format!(
                "job {job} executes the runs, but no job gathers the results; run `{afterwards}` afterwards"
            )
        })
    }

    /// Queues a script of the folder with `sbatch`, after the end of another job, and returns the job's id.
    fn queue(&self, sbatch: &Path, script: &str, after: Option<&str>) -> Result<String> {
        let mut command = Command::new(sbatch);
        command.current_dir(&self.folder).arg("--parsable");
        if let Some(job) = after {
            command.arg(format!("--dependency=afterany:{job}"));
        }
        let output = match command.arg(script).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(Usage::new(
                "there is no `sbatch` on this machine; submit from a login node of the cluster, or pass --print for the script"
            )),
            output => output.with_context(|| format!("cannot run {}", sbatch.display()))?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<_> =
            said.lines().map(|line| line.trim_start_matches("sbatch: error: ")).collect();
        ensure!(
            output.status.success(),
            Usage::new(format!("`sbatch` rejects the job: {}", said.join("; ")))
        );
        // Some clusters print a message first. With several clusters, the name of a cluster follows the id.
        let answer = String::from_utf8_lossy(&output.stdout);
        let last = answer.trim().lines().next_back().unwrap_or_default();
        let job = last.split(';').next().unwrap_or_default();
        ensure!(
            !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit()),
            NoJobId(answer.trim().to_owned())
        );
        Ok(job.to_owned())
    }
}
