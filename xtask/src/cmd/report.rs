//! `cargo xtask report [DIR]`: rebuilds `summary.md`, `report.html` and its figures from a results folder alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use taper_host::{Exit, Usage};
use taper_record::write_file;

use crate::results::Results;
use crate::{cells, figure, page, summary, tables};

/// Arguments of `report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A results folder [default: the newest below results/]
    dir: Option<PathBuf>,
    /// Write the tables of README.md and of the book as results/ has them, instead
    #[arg(long, conflicts_with = "dir")]
    tables: bool,
    /// Only say whether those tables are as results/ has them
    #[arg(long, conflicts_with_all = ["dir", "tables"])]
    check: bool,
}

/// Rebuilds the two documents; the exit code is that of the verdict, as after `reproduce`.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    if args.tables || args.check {
        return tables(root, args.check);
    }
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => newest(&root.join("results"))?,
    };
    let results = Results::load(&dir)?;
    write_documents(&results, &dir)?;
    print!("{}", summary::console(&results));
    println!(
        "\nwrote {} and {}",
        dir.join("summary.md").display(),
        dir.join("report.html").display()
    );
    Ok(cells::exit(&results).into())
}

/// The tables of documents.
fn tables(root: &Path, only_check: bool) -> Result<ExitCode> {
    let mut are_right = true;
    for path in tables::documents(root)? {
        let place = path.strip_prefix(root).unwrap_or(&path).display();
        let old = std::fs::read_to_string(&path).with_context(|| format!("cannot read {place}"))?;
        let new = tables::with_tables(&old, root).with_context(|| format!("in {place}"))?;
        if new == old {
            continue;
        }
        match only_check {
            true => {
                println!(
                    "{place} is not as results/ has it; `cargo xtask report --tables` writes it"
                );
                are_right = false;
            }
            false => write_file(&path, new.as_bytes())?,
        }
    }
    if !are_right {
        return Ok(Exit::Failed.into());
    }
    println!("the tables are as results/ has them");
    Ok(Exit::Done.into())
}

/// Writes `summary.md`, `report.html` and the figures of the latter into a results folder.
pub(crate) fn write_documents(results: &Results, dir: &Path) -> Result<()> {
    let figures = figure::all(results)?;
    for id in figure::IDS {
        let path = dir.join(format!("{id}.svg"));
        match figures.iter().find(|figure| figure.id == id) {
            Some(figure) => write_file(&path, figure.file()?.as_bytes())?,
            // One of before would be taken for a part of these results.
            None if path.exists() => std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?,
            None => {}
        }
    }
    write_file(&dir.join("summary.md"), summary::markdown(results).as_bytes())?;
    write_file(&dir.join("report.html"), page::render(results, &figures, dir)?.as_bytes())?;
    Ok(())
}

/// The folder whose manifest has the last date.
fn newest(results: &Path) -> Result<PathBuf> {
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
            "no results in {}; run `cargo xtask reproduce` first",
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
    fn every_results_folder_of_this_repository_can_be_reported_and_taken_from() {
        let results = crate::taper::repository().join("results");
        let folders = std::fs::read_dir(&results).expect("lists").flatten().map(|e| e.path());
        let mut n_runs = 0;
        for dir in folders.filter(|dir| dir.join("runs.csv").is_file()) {
            crate::taken::Sources::load(std::slice::from_ref(&dir)).expect("sources");
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
