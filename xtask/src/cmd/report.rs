//! `cargo xtask report [DIR]`: runs `taper suite report`, or writes the tables and figures of documents.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use taper_host::Exit;
use taper_record::write_file;
use taper_suite::tables::with_tables;

use crate::{copied, figure, taper};

/// Arguments of `report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A results folder [default: the newest in results/]
    dir: Option<OsString>,
    /// Instead of a report, write the tables and figures in README.md and the book from results/
    #[arg(long, conflicts_with = "dir")]
    tables: bool,
    /// Only check whether those tables and figures agree with results/
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

/// Writes or checks the tables in documents, and the figures.
fn tables(root: &Path, only_check: bool) -> Result<ExitCode> {
    let mut are_right = true;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (mut pages, mut images) = (Vec::<(PathBuf, String, String)>::new(), Vec::new());
    for path in documents(root)? {
        let old = read(&path)?;
        let new = with_tables(&old, root).with_context(|| format!("in {}", path.display()))?;
        let copies = copied::figures(&path, &new, root);
        images.extend(copies.with_context(|| format!("in {}", path.display()))?);
        pages.push((path, old, new));
    }
    let readme = pages.iter().find(|(path, ..)| path.ends_with("README.md"));
    let (.., readme) = readme.context("there is no README.md")?;
    if let Some(drawn) = figure::speed(readme)? {
        images.push((root.join(figure::PLACE), drawn));
    }
    for (path, new) in images {
        let old = read(&path).unwrap_or_default();
        pages.push((path, old, new));
    }
    for (path, old, new) in pages {
        let place = path.strip_prefix(root).unwrap_or(&path).display();
        if new == old {
            continue;
        }
        match only_check {
            true => {
                println!("{place} differs from results/; run `cargo xtask report --tables`");
                are_right = false;
            }
            false => write_file(&path, new.as_bytes())?,
        }
    }
    if !are_right {
        return Ok(Exit::Failed.into());
    }
    println!("all tables and figures agree with results/");
    Ok(Exit::Done.into())
}

/// The documents that may contain tables: README.md and the pages of the book.
///
/// # Errors
/// If the pages cannot be listed.
fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.join("docs/src")]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).and_then(|entries| {
            entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()
        });
        let entries = entries.with_context(|| format!("cannot read {}", folder.display()))?;
        let (inner, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
        folders.extend(inner);
        found.extend(files);
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.push(root.join("README.md"));
    found.sort();
    Ok(found)
}
