//! The command `taper suite report`.

use crate::{args::SuiteReport, term};
use std::process::ExitCode;
use taper_suite::{Results, exit, report, summary};

/// Rebuilds the documents of a results folder. The exit code is that of the verdict, as after `taper suite run`.
pub fn run(args: &SuiteReport) -> anyhow::Result<ExitCode> {
    let dir = match &args.results {
        Some(dir) => dir.clone(),
        None => report::newest(&args.folder.join("results"))?,
    };
    let results = Results::load(&dir)?;
    report::write_documents(&results, &dir)?;
    let exit = exit(&results);
    term::print_before(exit, summary::console(&results).trim_end())?;
    let [short, long] = ["summary.md", "report.html"].map(|name| dir.join(name));
    term::print_before(exit, format_args!("\nwrote {} and {}", short.display(), long.display()))?;
    Ok(exit.into())
}
