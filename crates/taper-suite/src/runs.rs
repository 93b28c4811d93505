//! The runs folder of a suite: the states of the runs, and which processes are at work on them.

use anyhow::{Result, anyhow};
use std::{
    fs,
    path::{Path, PathBuf},
};
use taper_host::Usage;
use taper_record::{Lock, LockError, NAMES};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// `result.json` exists.
    Finished,
    /// In other results.
    Elsewhere,
    /// A process is at work on it.
    AtWork,
    /// Begun, not finished, and no process is at work on it.
    Begun,
    /// Not begun.
    New,
}

impl RunState {
    /// Whether no work is left.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Finished | Self::Elsewhere)
    }

    /// Its word in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Elsewhere => "elsewhere",
            Self::AtWork => "at work",
            Self::Begun => "to resume",
            Self::New => "to do",
        }
    }
}

/// The folder with the runs of a suite.
#[derive(Clone, Debug)]
pub(crate) struct RunsFolder(PathBuf);

impl RunsFolder {
    /// The runs folder of a suite, below a folder.
    pub(crate) fn of(folder: &Path, suite: &str) -> Self {
        Self(folder.join("runs").join(suite))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a run.
    pub(crate) fn run(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    /// The log of a run.
    pub(crate) fn log(&self, key: &str) -> PathBuf {
        self.0.join(format!("{key}.log"))
    }

    /// The lock of a run. It is next to the run folder, because it would otherwise create that folder.
    fn lock(&self, key: &str) -> PathBuf {
        self.0.join(format!("{key}.lock"))
    }

    /// Claims a run for this process; `None` if another process has it.
    ///
    /// # Errors
    /// If the folder cannot be written, or its file system has no locks.
    pub(crate) fn claim(&self, key: &str) -> Result<Option<Lock>> {
        let place = self.0.display();
        fs::create_dir_all(&self.0)
            .map_err(|error| anyhow::Error::new(error).context(format!("cannot create {place}")))?;
        Lock::take(&self.lock(key)).map_err(cannot_lock)
    }

    /// The state of a run.
    pub(crate) fn state(&self, key: &str) -> RunState {
        let run = self.run(key);
        // `result.json` is written last and atomically, so its existence is enough.
        match (run.join(NAMES.result).is_file(), run.is_dir()) {
            (true, _) => RunState::Finished,
            _ if Lock::is_held(&self.lock(key)) == Some(true) => RunState::AtWork,
            (false, true) => RunState::Begun,
            (false, false) => RunState::New,
        }
    }

    /// The last error in the log of a run.
    pub(crate) fn error(&self, key: &str) -> Option<String> {
        let log = fs::read(self.log(key)).ok()?;
        let log = String::from_utf8_lossy(&log);
        // Ranks begin with their number.
        let is_error = |line: &&str| {
            let rest = line.strip_prefix("rank ").and_then(|rest| rest.split_once(": "));
            rest.map_or(*line, |(_, rest)| rest).starts_with("error: ")
        };
        log.lines().rev().find(is_error).map(str::to_owned)
    }

    /// Finished epochs of a run: lines of `metrics.csv`, without the header.
    pub(crate) fn epochs_done(&self, key: &str) -> u64 {
        epochs_done(&self.run(key))
    }
}

/// Finished epochs of the run in a folder.
pub(crate) fn epochs_done(run: &Path) -> u64 {
    let text = fs::read(run.join(NAMES.epochs)).unwrap_or_default();
    (text.iter().filter(|byte| **byte == b'\n').count() as u64).saturating_sub(1)
}

/// Adds what to do to the error of a lock.
pub(crate) fn cannot_lock(error: LockError) -> anyhow::Error {
    match error {
        LockError::Unsupported { .. } => {
            anyhow!(Usage::new(format!("{error}; choose another folder with --folder")))
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_counted_without_the_header_and_the_torn_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(epochs_done(dir.path()), 0);
        fs::write(dir.path().join("metrics.csv"), "epoch,step\n0,10\n1,20\n2,3").expect("writes");
        assert_eq!(epochs_done(dir.path()), 2);
    }

    #[test]
    fn only_one_process_claims_a_run() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let runs = RunsFolder::of(dir.path(), "s");
        assert_eq!(runs.state("k"), RunState::New);
        let lock = runs.claim("k").expect("locks").expect("it is free");
        assert_eq!(runs.state("k"), RunState::AtWork);
        assert!(runs.claim("k").expect("looks").is_none());
        assert!(runs.claim("other").expect("locks").is_some(), "each run has its own lock");
        fs::create_dir(runs.run("k")).expect("creates");
        drop(lock);
        assert_eq!(runs.state("k"), RunState::Begun);
        fs::write(runs.run("k").join(NAMES.result), "{}").expect("writes");
        assert_eq!(runs.state("k"), RunState::Finished);
        let source = std::io::ErrorKind::Unsupported.into();
        let error = cannot_lock(LockError::Unsupported { path: runs.lock("k"), source });
        assert!(error.is::<Usage>() && error.to_string().contains("has no locks"), "{error}");
        fs::write(dir.path().join("runs/file"), "").expect("writes");
        let error = RunsFolder::of(dir.path(), "file").claim("k").expect_err("no folder");
        assert!(error.to_string().contains("cannot create"), "{error}");
    }
}
