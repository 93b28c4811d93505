//! The command `taper suite list`.

use crate::{args::SuiteList, term};
use taper_suite::available;

/// Lists the available suites.
pub fn run(args: &SuiteList) -> anyhow::Result<()> {
    let suites = available(&args.folder)?;
    if args.json {
        return term::print(serde_json::to_string_pretty(&suites)?);
    }
    let width = suites.keys().map(String::len).max().unwrap_or(0);
    for (name, title) in suites {
        term::print(format_args!("{name:<width$}  {title}"))?;
    }
    Ok(())
}
