//! `cargo xtask report [DIR]`: runs `taper suite report`, or writes the tables in documents.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use taper_host::Exit;
use taper_record::write_file;
use taper_suite::tables::with_tables;

use crate::taper;

/// Arguments of `report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A results folder [default: the newest in results/]
    dir: Option<OsString>,
    /// Instead of a report, write the tables in README.md and the book from results/
    #[arg(long, conflicts_with = "dir")]
    tables: bool,
    /// Only check whether those tables agree with results/
    #[arg(long, conflicts_with_all = ["dir", "tables"])]
    check: bool,
}

/// Rebuilds summary.md and report.html. The exit code is that of the verdict, as after `reproduce`.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    if args.tables || args.check {
        return tables(root, args.check);
    }
    let words = ["suite", "report", "--folder"].map(OsString::from);
    let words = words.into_iter().chain([root.into()]).chain(args.dir.clone());
    taper::hand_over(&taper::build(root, None)?, words)
}

/// Writes or checks the tables in documents.
fn tables(root: &Path, only_check: bool) -> Result<ExitCode> {
    let mut are_right = true;
    for path in documents(root)? {
        let place = path.strip_prefix(root).unwrap_or(&path).display();
        let old = std::fs::read_to_string(&path).with_context(|| format!("cannot read {place}"))?;
        let new = with_tables(&old, root).with_context(|| format!("in {place}"))?;
        if new == old {
            continue;
        }
        match only_check {
            true => {
                println!(
                    "the tables in {place} differ from results/; run `cargo xtask report --tables`"
                );
                are_right = false;
            }
            false => write_file(&path, new.as_bytes())?,
        }
    }
    if !are_right {
        return Ok(Exit::Failed.into());
    }
    println!("all tables agree with results/");
    Ok(Exit::Done.into())
}

/// The documents that may contain tables: README.md and the pages of the book.
///
/// # Errors
/// If the pages cannot be listed.
fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let book = root.join("docs/src");
    let entries = std::fs::read_dir(&book).and_then(|entries| {
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()
    });
    let mut found = entries.with_context(|| format!("cannot read {}", book.display()))?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.push(root.join("README.md"));
    found.sort();
    Ok(found)
}
