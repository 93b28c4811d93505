//! `cargo xtask report [DIR]`: hands a results folder to `taper suite report`, or writes the tables of documents.

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
    /// A results folder [default: the newest below results/]
    dir: Option<OsString>,
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
    let words = ["suite", "report", "--folder"].map(OsString::from);
    let words = words.into_iter().chain([root.into()]).chain(args.dir.clone());
    taper::hand_over(&taper::build(root, None)?, words)
}

/// The tables of documents.
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

/// The documents that may hold tables: README.md and the pages of the book.
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
