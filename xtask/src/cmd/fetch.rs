//! `cargo xtask fetch DATASET...`: builds `taper` and fetches data sets with it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use taper_host::Exit;

use crate::taper;

/// Arguments of `fetch`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Data sets by name, such as cifar100
    #[arg(required = true, value_name = "DATASET")]
    datasets: Vec<String>,
}

/// Fetches one data set after another and stops at the first that fails.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let taper = taper::build(root, None)?;
    for name in &args.datasets {
        let status = Command::new(&taper)
            .arg("fetch")
            .arg(name)
            .status()
            .with_context(|| format!("cannot run {}", taper.display()))?;
        if !status.success() {
            eprintln!("error: `taper fetch {name}` failed ({status})");
            // xtask returns the exit code of taper.
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(Exit::Failed.into(), ExitCode::from));
        }
    }
    Ok(Exit::Done.into())
}
