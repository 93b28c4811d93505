//! The command `taper fetch`: downloads a data set.

use crate::{args::Fetch, error::usage, term};
use serde_json::json;
use taper::data::{DataError, Dataset, OpenOptions};

/// Downloads a data set into the cache, unless it is there.
pub fn run(args: &Fetch) -> anyhow::Result<()> {
    let progress = term::FetchBar::default();
    let options = OpenOptions { progress: Some(&progress), ..OpenOptions::default() };
    let files = Dataset::fetch(&args.dataset, &options).map_err(|error| match error {
        DataError::Unknown { .. } => usage(error),
        other => other.into(),
    })?;
    if args.json {
        term::print(format_args!(
            "{}",
            json!({
                "dataset": args.dataset,
                "commit": files.first().map(|file| &file.commit),
                "files": files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>(),
                "sha256": files.iter().map(|file| &file.sha256).collect::<Vec<_>>(),
            })
        ))?;
    } else if files.is_empty() {
        term::print(format_args!(
            "{} is included in this program; there is nothing to fetch",
            args.dataset
        ))?;
    } else {
        for file in files {
            term::print(file.path.display())?;
        }
    }
    Ok(())
}
