//! `cargo xtask report [DIR]`: rebuilds `summary.md`, `report.html` and its figures from a results folder alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::results::Results;
use crate::{cells, figure, page, readme, summary, write};

/// Arguments of `report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A results folder [default: the newest below results/]
    dir: Option<PathBuf>,
    /// Write the tables of README.md as results/ has them, instead
    #[arg(long, conflicts_with = "dir")]
    readme: bool,
    /// Only say whether the tables of README.md are as results/ has them
    #[arg(long, conflicts_with_all = ["dir", "readme"])]
    check: bool,
}

/// Rebuilds the two documents; the exit code is that of the verdict, as after `reproduce`.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    if args.readme || args.check {
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
    Ok(if cells::passed(&results) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tables of README.md.
fn tables(root: &Path, only_check: bool) -> Result<ExitCode> {
    let path = root.join("README.md");
    let old = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let new = readme::with_tables(&old, root)?;
    if only_check && new != old {
        println!("README.md is not as results/ has it; `cargo xtask report --readme` writes it");
        return Ok(ExitCode::FAILURE);
    }
    if new != old {
        write::atomically(&path, new.as_bytes())?;
    }
    println!("README.md is as results/ has it");
    Ok(ExitCode::SUCCESS)
}

/// Writes `summary.md`, `report.html` and the figures of the latter into a results folder.
pub(crate) fn write_documents(results: &Results, dir: &Path) -> Result<()> {
    let figures = figure::all(results)?;
    for id in figure::IDS {
        let path = dir.join(format!("{id}.svg"));
        match figures.iter().find(|figure| figure.id == id) {
            Some(figure) => write::atomically(&path, figure.file()?.as_bytes())?,
            // One of before would be taken for a part of these results.
            None if path.exists() => std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?,
            None => {}
        }
    }
    write::atomically(&dir.join("summary.md"), summary::markdown(results).as_bytes())?;
    write::atomically(&dir.join("report.html"), page::render(results, &figures, dir)?.as_bytes())
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
