//! The program `taper`.
#![forbid(unsafe_code)]

mod args;
mod cmd;
mod error;
mod machine;
mod network;
mod scores;
mod term;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    term::start_log();
    match cmd::run(args.command) {
        Ok(code) => code,
        Err(error) => {
            term::line(&format!("error: {}", error::sentence(&error)));
            ExitCode::from(error::exit_code(&error))
        }
    }
}
