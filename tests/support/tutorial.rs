//! The tutorials of the book as data: the files that a reader writes, and the commands that a reader runs.

use super::{cifar100, repository};
use pulldown_cmark::{CodeBlockKind, Event, Tag, TagEnd};
use std::path::{Path, PathBuf};

/// A part of a tutorial that the reader acts on.
pub enum Part {
    /// A file to write: its name and content.
    File(String, String),
    /// Commands to run.
    Run(String),
    /// Commands that take too long for a test; it adds `--dry-run`.
    Long(String),
    /// Commands that need a Slurm cluster; the test adds `--print`. `tests/slurm.rs` runs them.
    Slurm(String),
}

/// A page of the tutorials.
pub fn page(name: &str) -> String {
    let path = repository().join("docs/src/tutorials").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The parts of a page: blocks of `sh`, and files, which follow a line with their name and a colon.
pub fn parts(page: &str) -> Vec<Part> {
    let (mut parts, mut line, mut block) = (Vec::new(), Vec::new(), None);
    for event in pulldown_cmark::Parser::new(page) {
        match event {
            Event::Start(Tag::Paragraph) => line.clear(),
            Event::Code(text) => line.push(format!("`{text}`")),
            Event::Text(text) if block.is_none() => line.push(text.to_string()),
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                block = Some((language.to_string(), String::new()));
            }
            Event::Text(text) => block.iter_mut().for_each(|(_, code)| code.push_str(&text)),
            Event::End(TagEnd::CodeBlock) => {
                let Some((language, code)) = block.take() else { continue };
                let file = match &line[..] {
                    [name, colon] if colon == ":" => name.strip_prefix('`'),
                    _ => None,
                };
                match (file, language.as_str()) {
                    (Some(name), _) => {
                        parts.push(Part::File(name.trim_end_matches('`').into(), code));
                    }
                    (None, "sh") => parts.push(Part::Run(code)),
                    (None, "sh,long") => parts.push(Part::Long(code)),
                    (None, "sh,slurm") => parts.push(Part::Slurm(code)),
                    _ => {}
                }
                line.clear();
            }
            _ => {}
        }
    }
    parts
}

/// Puts CIFAR-100 into the hub's cache below `home`, as `taper fetch` leaves it; false if the files are not on this machine.
pub fn cached_cifar100(home: &Path) -> bool {
    let Some(data) = cifar100() else { return false };
    let Ok(entries) = std::fs::read_dir(&data) else { return false };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let cache = home.join("hub/datasets--uoft-cs--cifar100");
    let commit = "0123456789012345678901234567890123456789";
    let snapshot = cache.join("snapshots").join(commit).join("cifar100");
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::fs::create_dir_all(cache.join("refs")).expect("a folder");
    std::fs::write(cache.join("refs/main"), commit).expect("a reference");
    for part in ["train", "test"] {
        let is_part = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(part) && name.ends_with(".parquet")
        };
        let Some(file) = files.iter().find(is_part) else { return false };
        let name = format!("{part}-00000-of-00001.parquet");
        std::fs::copy(file, snapshot.join(name)).expect("a copy");
    }
    true
}
