//! `cargo xtask report [DIR]`: rebuilds `summary.md` and `report.html` from a results folder alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::results::Results;
use crate::{cells, page, summary, write};

/// Arguments of `report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A results folder [default: the newest below results/]
    dir: Option<PathBuf>,
}

/// Rebuilds the two documents; the exit code is that of the verdict, as after `reproduce`.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
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
    Ok(if cells::passed(&results) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes `summary.md` and `report.html` into a results folder.
pub(crate) fn write_documents(results: &Results, dir: &Path) -> Result<()> {
    write::atomically(&dir.join("summary.md"), summary::markdown(results).as_bytes())?;
    write::atomically(&dir.join("report.html"), page::render(results)?.as_bytes())
}

/// Folder names begin with the date, so the last name is the newest.
fn newest(results: &Path) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(results)
        .with_context(|| {
            format!("cannot read {}; run `cargo xtask reproduce` first", results.display())
        })?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.join("runs.csv").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some(dir) => Ok(dir),
        None => bail!("no results in {}; run `cargo xtask reproduce` first", results.display()),
    }
}
