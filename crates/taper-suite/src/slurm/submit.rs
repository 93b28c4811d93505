//! Submits the scripts of a suite with `sbatch`.

use super::script::{Part, Submission};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs, io,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};
use taper_host::Usage;

/// Job ids from Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The array of jobs that execute the runs.
    pub runs: String,
    /// The job that gathers the results when they have ended.
    pub results: String,
}

impl Submission {
    /// Submits the runs, and a job after them that gathers the results.
    ///
    /// # Errors
    /// Errors of [`script`](Self::script); [`Usage`] if there is no `sbatch`, or it rejects the jobs; an error if the
    /// scripts cannot be written below `runs/`.
    pub fn submit(&self) -> Result<Submitted> {
        self.submit_with(Path::new("sbatch"))
    }

    pub(super) fn submit_with(&self, sbatch: &Path) -> Result<Submitted> {
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
        let runs = self.queue(sbatch, &token, None).inspect_err(|_| {
            for path in [&token, &results] {
                // An unused script does no harm.
                let _ = fs::remove_file(self.folder.join(path));
            }
        })?;
        let afterwards = self.command("run")?;
        let results = self.queue(sbatch, &results, Some(&runs)).with_context(|| {
            format!(
                "job {runs} executes the runs, but no job gathers the results; run `{afterwards}` afterwards"
            )
        })?;
        Ok(Submitted { runs, results })
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
        // With several clusters, the name of a cluster follows.
        let answer = String::from_utf8_lossy(&output.stdout);
        let job = answer.trim().split(';').next().unwrap_or_default();
        ensure!(
            !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit()),
            "`sbatch` printed `{}` instead of a job id",
            answer.trim()
        );
        Ok(job.to_owned())
    }
}
