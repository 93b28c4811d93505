//! The batch scripts of a suite.

use super::quote::{directive, path, shell};
use anyhow::{Result, bail};
use std::{num::NonZeroUsize, path::PathBuf};
use taper_host::Usage;

/// Seconds between the signal to write a checkpoint and the end of the time limit.
pub(crate) const LEAD: u64 = 120;
/// The body of every script, after its directives and variables.
const BODY: &str = include_str!("../../templates/slurm.sh");

/// A suite, and the options of its jobs.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The suite for `taper suite run` in the folder: its name, or a path.
    pub suite: String,
    /// Name of the suite, and of its folder below `runs/`.
    pub name: String,
    /// Folder with `runs/` and `results/`, on a file system that all nodes share.
    pub folder: PathBuf,
    /// The program `taper`, on a file system that all nodes share, too.
    pub program: PathBuf,
    /// Number of jobs that share the runs.
    pub array_size: NonZeroUsize,
    /// Partition; `None` for the cluster's default, like all fields that follow.
    pub partition: Option<String>,
    /// Time limit of each job in the format of `sbatch`: minutes, `H:MM:SS`, `D-H` and so on. It must be longer than 2
    /// minutes: the signal to write a checkpoint comes 2 minutes before the end, and then the job is requeued.
    pub time: Option<String>,
    /// Processors of each job, or of each rank.
    pub cpus: Option<NonZeroUsize>,
    /// Generic resources of each job, such as `gpu:1`.
    pub gres: Option<String>,
    /// Processes that train each run together.
    pub ranks: NonZeroUsize,
    /// Further arguments of `sbatch`; they take precedence over the fields above.
    pub sbatch: Vec<String>,
    /// Further arguments of `taper suite run`.
    pub arguments: Vec<String>,
}

/// One of the two jobs of a submission.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    /// An array of jobs; each executes the runs of a shard.
    Runs,
    /// Executes the remaining runs, such as those of a killed job, and writes the results.
    Results,
}

impl Submission {
    /// The batch script of the jobs that execute the runs. It checks that the folder exists, but not that it is the
    /// same folder on all nodes: [`submit_runs`](Self::submit_runs) does that.
    ///
    /// # Errors
    /// [`Usage`] if a value cannot be in a batch script, an argument of `sbatch` would replace the array, or the time
    /// limit is at most 2 minutes: a job is stopped 2 minutes before its end.
    pub fn script(&self) -> Result<String> {
        self.script_of(Part::Runs, ".")
    }

    /// A command, such as `status`, for the runs of this submission: their settings are part of their keys.
    ///
    /// # Errors
    /// [`Usage`] if the folder cannot be in a command.
    pub fn command(&self, name: &str) -> Result<String> {
        let settings = self.arguments.iter().filter(|argument| !argument.starts_with("--threads="));
        let mut words = vec![format!("taper suite {name}"), shell(&self.suite)];
        words.extend(settings.map(|argument| shell(argument)));
        words.push(format!("--folder={}", path(&self.folder)?));
        Ok(words.join(" "))
    }

    /// The folder of the scripts and logs of the jobs, relative to `folder`.
    pub(super) fn jobs(&self) -> String {
        format!("runs/{}/slurm", self.name)
    }

    /// The script of a part. On each node, the folder must contain the file `token`.
    pub(super) fn script_of(&self, part: Part, token: &str) -> Result<String> {
        let mut lines = vec!["#!/bin/bash".to_owned()];
        let options = self.options(part)?;
        lines.extend(options.into_iter().map(|option| format!("#SBATCH {option}")));
        let size = self.array_size;
        let mut command = vec![path(&self.program)?, "suite run".to_owned(), shell(&self.suite)];
        let job = match part {
            Part::Runs => {
                command.push(format!("--shard \"$SLURM_ARRAY_TASK_ID\"/{size}"));
                "\"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\""
            }
            Part::Results => "\"$SLURM_JOB_ID\"",
        };
        if self.ranks.get() > 1 {
            command.push(format!("--ranks={}", self.ranks));
        }
        command.extend(self.arguments.iter().map(|argument| shell(argument)));
        lines.extend([
            format!("# Made by `taper suite submit {}`.", shell(&self.suite)),
            format!("folder={}", path(&self.folder)?),
            format!("token={}", shell(token)),
            format!("job={job}"),
            format!("log={}/\"$job\".log", shell(&self.jobs())),
            format!("command=({})", command.join(" ")),
            BODY.to_owned(),
        ]);
        Ok(lines.join("\n"))
    }

    /// Options of `sbatch`, in the form of directives.
    fn options(&self, part: Part) -> Result<Vec<String>> {
        if let Some(array) = self.sbatch.iter().find(|argument| is_array(argument)) {
            bail!(Usage::new(format!(
                "`{array}` would replace the array of the suite; give --array-size for the number of jobs"
            )));
        }
        let signal = self.sbatch.iter().any(|argument| argument.starts_with("--signal"));
        if let Some(time) = &self.time
            && let Some(seconds) = seconds(time)
            && (1..=LEAD).contains(&seconds)
            && !signal
        {
            bail!(Usage::new(format!(
                "a time limit of {time} is {seconds} s, but a job is stopped {LEAD} s before its end; set a longer limit"
            )));
        }
        let name = match part {
            Part::Runs => format!("taper-{}", self.name),
            Part::Results => format!("taper-{}-results", self.name),
        };
        let mut options = vec![format!("--job-name={}", directive(&name)?)];
        if part == Part::Runs {
            options.push(format!("--array=0-{}", self.array_size.get() - 1));
        }
        // The script changes to the folder and opens its log there: if either is missing, Slurm ends a job without a
        // message.
        options.extend(["--chdir=/", "--output=/dev/null", "--requeue"].map(str::to_owned));
        options.push(format!("--signal=B:TERM@{LEAD}"));
        let values = [
            ("partition", self.partition.clone()),
            ("ntasks", (self.ranks.get() > 1).then(|| self.ranks.to_string())),
            ("time", self.time.clone()),
            ("cpus-per-task", self.cpus.map(|cpus| cpus.to_string())),
            ("gres", self.gres.clone()),
        ];
        for (option, value) in values {
            if let Some(value) = value {
                options.push(format!("--{option}={}", directive(&value)?));
            }
        }
        // The value of an option may be a separate argument.
        let more: Vec<_> = self.sbatch.iter().map(|more| directive(more)).collect::<Result<_>>()?;
        if !more.is_empty() {
            options.push(more.join(" "));
        }
        Ok(options)
    }
}

/// Whether an argument of `sbatch` requests an array.
fn is_array(argument: &str) -> bool {
    let long = argument.split('=').next().unwrap_or_default();
    (long.len() > "--a".len() && "--array".starts_with(long))
        || (argument.starts_with("-a") && !argument.starts_with("--"))
}

/// Seconds of a time limit; `None` if it is not written in numbers.
pub(super) fn seconds(time: &str) -> Option<u64> {
    let (days, rest) = match time.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, time),
    };
    let parts = rest.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let units: &[u64] = match (days, parts.len()) {
        (Some(_), 1..=3) | (None, 3) => &[3600, 60, 1],
        (None, 1 | 2) => &[60, 1],
        _ => return None,
    };
    let add = |sum: u64, (part, unit): (&u64, &u64)| sum.saturating_add(part.saturating_mul(*unit));
    Some(parts.iter().zip(units).fold(days.unwrap_or(0).saturating_mul(86400), add))
}
