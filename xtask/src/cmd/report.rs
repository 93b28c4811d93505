//! `cargo xtask report [DIR]`: hands a results folder to `taper suite report`, or writes the tables of documents.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use taper_host::Exit;
use taper_record::write_file;
use taper_suite::{Results, exit, report, summary};

use crate::tables;

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
        None => report::newest(&root.join("results"))?,
    };
    let results = Results::load(&dir)?;
    report::write_documents(&results, &dir)?;
    print!("{}", summary::console(&results));
    println!(
        "\nwrote {} and {}",
        dir.join("summary.md").display(),
        dir.join("report.html").display()
    );
    Ok(exit(&results).into())
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
