//! Executes runs as processes of `taper train`: their logs, their progress, their ends.

use crate::{
    launcher::{Launch, Launcher, RunOutcome, StopRequest},
    runs::epochs_done,
    slurm::LEAD,
    suite::Job,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use taper_distributed::{GROUP, most_ranks};
use taper_host::{Exit, Usage, kill_group, lead_group, terminate, terminate_ranks};
use taper_record::NAMES;

/// Time for an interrupted run to end its step or its evaluation, and to write its checkpoint: nearly all of the time
/// that a job has before its end.
const GRACE: Duration = Duration::from_secs(LEAD - 15);
/// Interval of checks whether a run has ended.
const POLL: Duration = Duration::from_millis(50);
/// Variables in which Open MPI, PMIx and MPICH pass rank and number of ranks to a process.
const RANK_VARIABLES: [&str; 5] =
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"];
/// Number of lines that are shown of a failed run's log.
const LOG_LINES: usize = 12;

/// Executes each run as a separate process of `taper train`.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program `taper`.
    pub path: PathBuf,
    /// Its working directory, to which relative paths refer.
    pub folder: PathBuf,
    /// Threads of each run; `None` for all cores.
    pub threads: Option<usize>,
    /// Processes that train each run together. If there is more than one, `srun` starts them in a job of Slurm, and
    /// `mpirun` elsewhere.
    pub ranks: NonZeroUsize,
    /// The device for which recipes are checked; `None` for the CPU.
    pub device: Option<String>,
}

impl Program {
    /// The command that starts `taper train`, once for each rank.
    fn starter(&self) -> Command {
        let ranks = self.ranks.to_string();
        if self.ranks.get() == 1 {
            let mut command = Command::new(&self.path);
            // The run is not a rank, even if MPI started this process.
            RANK_VARIABLES.iter().for_each(|name| {
                command.env_remove(name);
            });
            return command;
        }
        let mut command;
        if std::env::var_os("SLURM_JOB_ID").is_some() {
            command = Command::new("srun");
            command.args([
                "--mpi=pmix",
                "--kill-on-bad-exit=1",
                "--input=none",
                "--ntasks",
                &ranks,
            ]);
            if let Some(threads) = self.threads {
                command.args(["--cpus-per-task", &threads.to_string()]);
            }
        } else {
            command = Command::new("mpirun");
            // Without these options, concurrent runs would be bound to the same cores, and all threads of a rank to one
            // core.
            command.args(["--bind-to", "none", "--stdin", "none", "-n", &ranks]);
        }
        // Ctrl-C at a terminal would end the ranks without a checkpoint.
        lead_group(&mut command);
        command.arg(&self.path);
        command
    }

    /// `taper train` with all arguments that decide the numbers of a run.
    fn train(&self, job: &Job, mut command: Command) -> Command {
        let experiment = job.experiment.strip_prefix(&self.folder).unwrap_or(&job.experiment);
        command.current_dir(&self.folder).arg("train").arg(experiment);
        if let Some(sparsity) = job.sparsity {
            command.args(["--sparsity", &sparsity.to_string()]);
        }
        command.args(["--seed", &job.seed.to_string()]);
        for (flag, settings) in [("--set-shared", &job.set_shared), ("--set", &job.set)] {
            settings.iter().for_each(|setting| {
                command.args([flag, setting]);
            });
        }
        if let Some(data) = &job.data {
            command.args(["--data", data]);
        }
        command
    }

    fn command(&self, job: &Job, launch: &Launch) -> Command {
        let mut command = self.train(job, self.starter());
        command.arg("--out").arg(launch.folder).args(["--resume", "--quiet", "--mask-trace"]);
        if let Some(device) = launch.device {
            command.args(["--device", device]);
        }
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command
    }
}

impl Launcher for Program {
    fn resolve(&self, job: &Job) -> Result<serde_json::Value> {
        let mut command = self.train(job, Command::new(&self.path));
        if let Some(device) = &self.device {
            command.args(["--device", device]);
        }
        let output = command
            .arg("--dry-run")
            .output()
            .with_context(|| format!("cannot run {}", self.path.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("error: ");
        ensure!(output.status.success(), Usage::new(format!("{job}: {said}")));
        let settings: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{job}: `taper train --dry-run` printed no JSON"))?;
        let ranks = self.ranks.get();
        let batch = settings["train"]["batch_size"].as_u64().and_then(|n| usize::try_from(n).ok());
        if let Some(batch) = batch.filter(|&batch| ranks > most_ranks(batch)) {
            bail!(Usage::new(format!(
                "{job}: {ranks} ranks are too many for a batch size of {batch}, because each computes at least {GROUP} images; choose fewer ranks"
            )));
        }
        Ok(settings)
    }

    fn run(&self, job: &Job, launch: &Launch) -> Result<RunOutcome> {
        let log = File::create(launch.log)
            .with_context(|| format!("cannot create {}", launch.log.display()))?;
        let mut child = self
            .command(job, launch)
            // The child holds the lock as well: if this process is killed, nobody can start the run a second time.
            .stdin(Stdio::from(launch.lock.share().context("cannot share the lock")?))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.path.display()))?;

        let mut stopping = Stopping::default();
        let mut looks = 0u32;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(POLL);
            looks += 1;
            if looks.is_multiple_of(10) {
                (launch.at)(epochs_done(launch.folder));
            }
            stopping.pass_on(&mut child, self.ranks, launch.stop);
        };

        if launch.stop.is_raised() || status.code() == Some(Exit::Interrupted.code().into()) {
            return Ok(RunOutcome::Interrupted);
        }
        let reason = if !status.success() {
            status.to_string()
        } else if !launch.folder.join(NAMES.result).is_file() {
            "it ended without an error, but wrote no result.json".to_owned()
        } else {
            return Ok(RunOutcome::Finished);
        };
        Ok(RunOutcome::Failed { reason, log: last_lines(launch.log) })
    }
}

/// Requests to stop that were passed on to a run.
#[derive(Default)]
struct Stopping {
    n_passed_on: u32,
    since: Option<Instant>,
}

impl Stopping {
    /// Passes new requests on to the run, and kills it if it takes too long. A killed run resumes from its last
    /// checkpoint.
    fn pass_on(&mut self, child: &mut Child, ranks: NonZeroUsize, stop: &StopRequest) {
        let n_requests = stop.n_raised();
        if self.n_passed_on < n_requests {
            self.n_passed_on = n_requests;
            self.since.get_or_insert_with(Instant::now);
            if ranks.get() > 1 { terminate_ranks(child) } else { terminate(child) }
        }
        if self.since.is_some_and(|since| since.elapsed() > GRACE) {
            tracing::warn!(
                "a run has not ended within {GRACE:?} and is stopped; it resumes from its last checkpoint. Set train.checkpoint_every to a number of steps that take less time"
            );
            // It waits, so this happens once.
            kill_group(child);
        }
    }
}

fn last_lines(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.log");
        let text: String = (0..40).map(|i| format!("line {i}\n\n")).collect();
        fs::write(&path, text).expect("writes");
        let lines = last_lines(&path);
        assert_eq!((lines.len(), lines[0].as_str()), (LOG_LINES, "line 28"));
        assert_eq!(last_lines(&dir.path().join("none")), Vec::<String>::new());
    }
}
