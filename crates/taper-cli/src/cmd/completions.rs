//! The command `taper completions`: completion scripts for shells.

use crate::{
    args::{Args, Completions},
    term,
};

/// Prints the script of a shell.
pub fn run(args: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::grouped(), "taper", &mut script);
    term::print(String::from_utf8_lossy(&script).trim_end())
}
