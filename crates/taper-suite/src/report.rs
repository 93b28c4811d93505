//! The documents of a results folder, generated from it alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use taper_host::Usage;
use taper_record::write_file;

use crate::results::Results;
use crate::{figure, page, summary};

/// Writes `summary.md`, `report.html` and its figures into a results folder.
///
/// # Errors
/// If a file cannot be written, or a file with the name of a figure is not a figure of a report.
pub fn write_documents(results: &Results, dir: &Path) -> Result<()> {
    let figures = figure::all(results)?;
    if let Some(path) = foreign(dir) {
        bail!(Usage::new(format!(
            "{} is not a figure of these results, but has the name of one; move or rename it",
            path.display()
        )));
    }
    for id in figure::IDS {
        let path = dir.join(format!("{id}.svg"));
        match figures.iter().find(|figure| figure.id == id) {
            Some(figure) => write_file(&path, figure.file()?.as_bytes())?,
            // An older figure would look like a part of these results.
            None if path.exists() => std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?,
            None => {}
        }
    }
    write_file(&dir.join("summary.md"), summary::markdown(results).as_bytes())?;
    write_file(&dir.join("report.html"), page::render(results, &figures, dir)?.as_bytes())?;
    Ok(())
}

/// The first file that has the name of a figure, but was not written by a report. Figures begin with the attributes of
/// an accessible image.
pub(crate) fn foreign(dir: &Path) -> Option<PathBuf> {
    let is_ours = |path: &Path| {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(300).read_to_end(&mut head));
        let text = String::from_utf8_lossy(&head);
        read.is_ok() && text.starts_with("<svg") && text.contains("role=\"img\" aria-label=\"")
    };
    let mut paths = figure::IDS.iter().map(|id| dir.join(format!("{id}.svg")));
    paths.find(|path| path.symlink_metadata().is_ok() && !is_ours(path))
}

/// The folder below `results` with the latest date in its manifest.
///
/// # Errors
/// If there are no results.
pub fn newest(results: &Path) -> Result<PathBuf> {
    let found = std::fs::read_dir(results)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.join("runs.csv").is_file())
        .max_by_key(|path| {
            (
                Results::load(path).map_or_else(|_| String::new(), |r| r.manifest.made.date),
                path.clone(),
            )
        });
    match found {
        Some(dir) => Ok(dir),
        None => bail!(Usage::new(format!(
            "no results in {}; run `taper suite run` first",
            results.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_newest_results_are_those_with_the_last_date_whatever_their_name() {
        let root = tempfile::tempdir().expect("a temporary folder");
        assert!(newest(root.path()).is_err());
        for (name, hour) in [("a-2", 7), ("a-10", 8), ("a-3", 5)] {
            let mut results = testing::results();
            results.manifest.made.date = format!("2025-03-04T0{hour}:00:00Z");
            results.save(&root.path().join(name)).expect("saves");
        }
        assert_eq!(newest(root.path()).expect("found"), root.path().join("a-10"));
    }

    #[test]
    fn every_results_folder_of_this_repository_can_be_reported() {
        let results = crate::testing::repository().join("results");
        let folders = std::fs::read_dir(&results).expect("lists").flatten().map(|e| e.path());
        let mut n_runs = 0;
        for dir in folders.filter(|dir| dir.join("runs.csv").is_file()) {
            let results = Results::load(&dir).expect("loads");
            n_runs += results.runs.len();
            let out = tempfile::tempdir().expect("a temporary folder");
            write_documents(&results, out.path()).expect("writes");
            let summary = std::fs::read_to_string(dir.join("summary.md")).expect("reads");
            let table = |text: &str| {
                text.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n")
            };
            assert_eq!(table(&summary::markdown(&results)), table(&summary), "{}", dir.display());
        }
        assert!(n_runs > 0);
    }
}
