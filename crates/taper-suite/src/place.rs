//! Chooses the folder for results: below `results/`, and never over other results.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use std::time::Duration;
use taper_host::host;
use taper_record::Lock;

use crate::results::Results;
use crate::{figure, report, runs::cannot_lock};

/// Files of results, without the figures.
const FILES: [&str; 8] = [
    "manifest.json",
    "runs.csv",
    "curves.csv",
    "steps.csv",
    "layers.csv",
    "fates.csv",
    "summary.md",
    "report.html",
];

/// Keeps other processes from choosing a results folder below this folder, until the lock is dropped. Waits for them.
pub(crate) fn lock(folder: &Path) -> Result<Lock> {
    let runs = folder.join("runs");
    // If all runs come from other results, no run has created it.
    std::fs::create_dir_all(&runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let path = runs.join(".results.lock");
    loop {
        if let Some(lock) = Lock::take(&path).map_err(cannot_lock)? {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Keys of the runs that results have.
#[derive(Default)]
pub(crate) struct Keys<'a> {
    pub(crate) finished: BTreeSet<&'a str>,
    pub(crate) failed: BTreeSet<&'a str>,
}

/// The first of `results/<date>-<host>`, `…-<suite>`, `…-<suite>-2` and so on, below a folder, that may hold results of
/// a suite with these keys.
pub(crate) fn of_runs(root: &Path, suite: &str, day: &str, keys: &Keys) -> PathBuf {
    let first = folder(root, day);
    let mut places = std::iter::once(first.clone()).chain(numbered(with(&first, suite)));
    places.find(|dir| may_hold(dir, suite, keys)).unwrap_or(first)
}

/// Whether a folder may hold results of a suite with these runs: it has no results, or fewer runs of the same suite, and
/// no file of the user with the name of a figure. A
/// failed run does not replace a finished run.
pub(crate) fn may_hold(dir: &Path, suite: &str, keys: &Keys) -> bool {
    match Results::load(dir) {
        Ok(there) => {
            let is_finished = |key: &str| keys.finished.contains(key);
            report::foreign(dir).is_none()
                && there.manifest.suite == suite
                && there.runs.iter().all(|run| is_finished(&run.key))
                && there
                    .manifest
                    .failed
                    .iter()
                    .all(|run| is_finished(&run.key) || keys.failed.contains(run.key.as_str()))
        }
        // Results that cannot be read may be from another suite, or from a later version.
        Err(_) => is_free(dir),
    }
}

/// The first free folder of `results/<date>-<host>-bench`, `…-bench-2` and so on. The name of a part follows `bench`.
pub fn of_bench(root: &Path, day: &str, part: Option<&str>) -> PathBuf {
    let bench = with(&folder(root, day), "bench");
    let first = part.map_or_else(|| bench.clone(), |part| with(&bench, part));
    numbered(first.clone()).find(|dir| is_free(dir)).unwrap_or(first)
}

/// Whether a folder contains no file that results would replace.
fn is_free(dir: &Path) -> bool {
    in_the_way(dir).is_none()
}

/// The first file in a folder that results would replace or delete, whatever its origin.
pub fn in_the_way(dir: &Path) -> Option<PathBuf> {
    let figures = figure::IDS.iter().map(|id| format!("{id}.svg"));
    let mut paths = FILES.iter().map(|&name| name.to_owned()).chain(figures).map(|n| dir.join(n));
    paths.find(|path| path.symlink_metadata().is_ok())
}

fn folder(root: &Path, day: &str) -> PathBuf {
    root.join("results").join(format!("{day}-{}", host()))
}

fn with(place: &Path, name: &str) -> PathBuf {
    let mut path = place.as_os_str().to_owned();
    path.push(format!("-{name}"));
    path.into()
}

/// A path, and then the same path with the suffix 2, 3 and so on.
fn numbered(place: PathBuf) -> impl Iterator<Item = PathBuf> {
    let more = place.clone();
    std::iter::once(place).chain((2u64..).map(move |n| with(&more, &n.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// The end of a folder's name, after date and host.
    fn end(root: &Path, day: &str, place: &Path) -> String {
        let first = folder(root, day);
        place.display().to_string().replace(&first.display().to_string(), "")
    }

    #[test]
    fn results_replace_what_they_contain_and_nothing_else() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut results = testing::results();
        let all: Vec<String> = results.runs.iter().map(|run| run.key.clone()).collect();
        let place = |suite: &str, n: usize| {
            let finished = all[..n].iter().map(String::as_str).collect();
            let keys = Keys { finished, ..Keys::default() };
            let place = of_runs(root.path(), suite, "2025-03-04", &keys);
            (end(root.path(), "2025-03-04", &place), place)
        };
        let (first, dir) = place("quick", all.len());
        assert_eq!(first, "");
        results.save(&dir).expect("saves");
        assert_eq!(place("quick", all.len()).0, "", "the same runs");
        let (part, dir) = place("quick", 3);
        assert_eq!(part, "-quick", "fewer");
        results.runs.truncate(3);
        results.save(&dir).expect("saves");
        assert_eq!(place("quick", 3).0, "-quick");
        assert_eq!(place("quick", 4).0, "-quick", "more");
        assert_eq!(place("quick", 2).0, "-quick-2", "fewer again");
        assert_eq!(place("long", all.len()).0, "-long", "another suite");
        results.manifest.failed.push(testing::failed_run());
        results.save(&dir).expect("saves");
        assert_eq!(place("quick", 3).0, "-quick-2", "a failed run counts, too");
        let may_hold = |n: usize, failed: &[&str]| {
            let finished = all[..n].iter().map(String::as_str).collect();
            let keys = Keys { finished, failed: failed.iter().copied().collect() };
            super::may_hold(&dir, "quick", &keys)
        };
        let failed = testing::failed_run().key;
        assert!(may_hold(3, &[&failed]), "it failed again");
        assert!(!may_hold(2, &[&failed, &all[2]]), "one that was finished has failed now");
        let figure = dir.join("gain.svg");
        std::fs::write(&figure, "mine").expect("writes");
        assert!(!may_hold(3, &[&failed]), "a file of the user has the name of a figure");
        let error = crate::report::write_documents(&results, &dir).expect_err("it would be lost");
        assert!(error.to_string().contains("gain.svg is not a figure"), "{error}");
        std::fs::remove_file(&figure).expect("removes");
        std::fs::write(dir.join("manifest.json"), "{").expect("writes");
        assert_eq!(place("quick", 4).0, "-quick-2", "unreadable results stay");
    }

    #[test]
    fn files_that_results_would_replace_block_a_folder() {
        let made = tempfile::tempdir().expect("a temporary folder");
        let results = testing::results();
        results.save(made.path()).expect("saves");
        crate::report::write_documents(&results, made.path()).expect("writes");
        let names: Vec<_> = std::fs::read_dir(made.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert!(names.len() > FILES.len(), "{names:?}");
        for name in names {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let path = dir.path().join(&name);
            assert!(may_hold(dir.path(), "quick", &Keys::default()));
            std::fs::write(&path, "mine").expect("writes");
            assert!(!may_hold(dir.path(), "quick", &Keys::default()), "{name:?}");
            assert_eq!(in_the_way(dir.path()), Some(path));
        }
    }

    #[test]
    fn a_bench_never_replaces_another() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let taken = |part: Option<&str>| {
            let place = of_bench(root.path(), "2025-03-04", part);
            std::fs::create_dir_all(&place).expect("creates");
            std::fs::write(place.join("manifest.json"), "{}").expect("writes");
            end(root.path(), "2025-03-04", &place)
        };
        assert_eq!(taken(None), "-bench");
        assert_eq!(taken(Some("cut")), "-bench-cut");
        assert_eq!(taken(None), "-bench-2");
        assert_eq!(taken(None), "-bench-3");
        assert_eq!(taken(Some("cut")), "-bench-cut-2");
    }
}
