//! The program `taper`.
#![forbid(unsafe_code)]

mod args;
mod cmd;
mod error;
mod existing;
mod images;
mod machine;
mod network;
mod pruned;
mod ranks;
mod scores;
mod term;

use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let args = args::Args::read().unwrap_or_else(|error| {
        ranks::let_first_speak();
        error.exit()
    });
    // If several ranks train together, only the first one prints warnings.
    term::start_log(match ranks::is_another() {
        true => LevelFilter::ERROR,
        false => LevelFilter::WARN,
    });
    match cmd::run(args.command) {
        Ok(code) => code,
        Err(error) => {
            ranks::let_first_speak();
            term::line(&format!("error: {}", error::sentence(&error)));
            ExitCode::from(error::exit_code(&error))
        }
    }
}
