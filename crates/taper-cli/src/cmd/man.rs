//! `taper man`.

use crate::{
    args::{Args, Man},
    existing::refuse_existing,
    term,
};
use anyhow::Context;
use std::path::{Path, PathBuf};
use taper::record::write_together;

/// Writes the manual pages of the program and of each of its commands.
pub fn run(args: &Man) -> anyhow::Result<()> {
    let mut command = Args::grouped().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(&command, &args.folder, &mut pages)?;
    for (path, _) in &pages {
        refuse_existing("folder", path, args.force)?;
    }
    let folder = args.folder.display();
    std::fs::create_dir_all(&args.folder).with_context(|| format!("cannot create {folder}"))?;
    write_together(&pages)?;
    term::print(format_args!("{} manual pages in {folder}", pages.len()))
}

/// Appends the path and the text of a command's page, and then those of its subcommands.
fn render(
    command: &clap::Command,
    folder: &Path,
    pages: &mut Vec<(PathBuf, Vec<u8>)>,
) -> anyhow::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((folder.join(page.get_filename()), text));
    command.get_subcommands().try_for_each(|command| render(command, folder, pages))
}
