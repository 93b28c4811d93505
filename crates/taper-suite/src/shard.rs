//! Shards: parts of a suite for processes that do not communicate.

use crate::{runs::RunsFolder, suite::Job};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{fmt, io, num::NonZeroUsize, str::FromStr};
use taper_host::Usage;
use taper_record::write_file;

/// Records the number of shards and their program: `shards.json` in the runs folder.
const FILE: &str = "shards.json";

/// One of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Index, from 0.
    index: usize,
    /// Number of shards.
    n: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, n)) if index < n => Ok(Self { index, n }),
            _ => Err("a shard is I/N with I from 0 to N - 1, such as 0/4".into()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.n)
    }
}

/// The properties that all shards of a suite must share.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Shards {
    shards: usize,
    commit: Option<String>,
}

impl Shard {
    /// The first of `n` shards.
    pub(crate) fn first_of(n: NonZeroUsize) -> Self {
        Self { index: 0, n: n.get() }
    }

    /// The record of the shards, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn record(runs: &RunsFolder) -> Result<Option<Vec<u8>>> {
        let path = runs.path().join(FILE);
        match std::fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes a record that was read before. Without one, it deletes the record, and the next shard writes a new one.
    ///
    /// # Errors
    /// If the record cannot be written or deleted.
    pub(crate) fn restore(runs: &RunsFolder, record: Option<&[u8]>) -> Result<()> {
        let path = runs.path().join(FILE);
        match record.map(|text| write_file(&path, text)) {
            Some(written) => Ok(written?),
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot delete {}", path.display()))
                }
                _ => Ok(()),
            },
        }
    }

    /// The jobs of this shard: each N-th in the order of their keys, which is the same for all processes.
    pub(crate) fn of<'a>(self, jobs: &[&'a Job]) -> Vec<&'a Job> {
        let mut keys: Vec<&str> = jobs.iter().map(|job| job.key.as_str()).collect();
        keys.sort_unstable();
        let is_mine = |job: &&&Job| {
            keys.binary_search(&job.key.as_str()).is_ok_and(|place| place % self.n == self.index)
        };
        jobs.iter().filter(is_mine).copied().collect()
    }

    /// Rejects a shard if the record has another number of shards or another commit. The first shard writes the record.
    ///
    /// # Errors
    /// If they differ, or the record cannot be read or written.
    pub(crate) fn join(self, runs: &RunsFolder, commit: Option<&str>) -> Result<()> {
        let path = runs.path().join(FILE);
        let own = Shards { shards: self.n, commit: commit.map(str::to_owned) };
        let Some(text) = Self::record(runs)? else {
            std::fs::create_dir_all(runs.path())?;
            return Ok(write_file(&path, &serde_json::to_vec_pretty(&own)?)?);
        };
        let there: Shards = serde_json::from_slice(&text).map_err(|error| {
            Usage::new(format!("{}: {error}; delete it while no shard is running", path.display()))
        })?;
        let commit = |shards: &Shards| shards.commit.clone().unwrap_or_else(|| "unknown".into());
        ensure!(
            there == own,
            Usage::new(format!(
                "{} records {} shards of commit {}, but this is shard {self} of commit {}; use the same number and the same program for all shards, or delete that file while no shard is running",
                path.display(),
                there.shards,
                commit(&there),
                commit(&own)
            ))
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::job;

    #[test]
    fn shards_partition_the_jobs_evenly() {
        let jobs: Vec<Job> = (0..7).map(|seed| job("row", 0.9, seed)).collect();
        let all: Vec<&Job> = jobs.iter().collect();
        let mut seen = Vec::new();
        for index in 0..3 {
            let shard: Shard = format!("{index}/3").parse().expect("a shard");
            let own = shard.of(&all);
            assert!((2..=3).contains(&own.len()), "{}", own.len());
            seen.extend(own.into_iter().map(|job| job.key.clone()));
        }
        seen.sort();
        let mut keys: Vec<String> = jobs.iter().map(|job| job.key.clone()).collect();
        keys.sort();
        assert_eq!(seen, keys);
        for text in ["3/3", "0", "a/2", "-1/2", "0/0", "1/"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn shards_of_another_number_or_commit_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let runs = RunsFolder::of(dir.path(), "s");
        let join = |text: &str, commit| {
            let shard: Shard = text.parse().expect("a shard");
            shard.join(&runs, Some(commit)).map_err(|error| error.to_string())
        };
        join("0/2", "abc").expect("the first");
        join("1/2", "abc").expect("another");
        join("0/2", "abc").expect("it resumes");
        for (shard, commit) in [("0/3", "abc"), ("1/2", "def")] {
            let error = join(shard, commit).expect_err("refused");
            assert!(error.contains("records 2 shards of commit abc"), "{error}");
        }
        std::fs::write(runs.path().join("shards.json"), "{").expect("writes");
        assert!(join("0/2", "abc").expect_err("damaged").contains("delete it"));
    }
}
