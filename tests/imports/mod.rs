//! Which source file uses items of which other, and the circles among them.
//!
//! An edge leads from the file that names an item to the file that defines it, whatever path the name takes: a
//! re-export is followed, and is no use by itself. Method calls carry no path and are not seen, nor is code under
//! `#[cfg(test)]`.

mod circles;
mod names;
mod parse;
mod tests;

use names::{Crate, Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Of each file, the files it uses with the names of the items.
type Edges = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// The files that use each other in a circle.
pub struct Circle {
    /// In order of their paths.
    pub files: Vec<PathBuf>,
    /// One line per edge within the circle, with the items.
    pub uses: String,
}

/// The circles among the files of these crates, given by the path of each one's root file. `read` returns a file's
/// text, or nothing where there is no such file.
pub fn circles(roots: &[PathBuf], read: &dyn Fn(&Path) -> Option<String>) -> Vec<Circle> {
    let mut edges = Edges::new();
    for root in roots {
        let mut found = Crate::default();
        parse::add_file(&mut found, root, true, &[], read);
        add_edges(&found, &mut edges);
    }
    let targets = |file: &PathBuf| {
        edges.get(file).into_iter().flat_map(|uses| uses.keys()).cloned().collect()
    };
    let circles = circles::find(edges.keys(), &targets);
    circles.into_iter().map(|files| Circle { uses: show(&files, &edges), files }).collect()
}

fn add_edges(found: &Crate, edges: &mut Edges) {
    for (path, module) in &found.modules {
        let brought = module.brought.iter().map(|used| (used, true));
        let uses = module.uses.iter().map(|used| (used, false));
        for (used, prefers_module) in brought.chain(uses) {
            let Some(Name::Item(target)) = found.resolve(path, used, prefers_module) else {
                continue;
            };
            if target != module.file {
                let item = used.join("::");
                let from = edges.entry(module.file.clone()).or_default();
                from.entry(target).or_default().insert(item);
            }
        }
    }
}

fn show(files: &[PathBuf], edges: &Edges) -> String {
    let mut lines = String::new();
    for from in files {
        let within = edges[from].iter().filter(|(to, _)| files.contains(to));
        for (to, items) in within {
            let items = items.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            lines += &format!("  {} uses {}: {items}\n", from.display(), to.display());
        }
    }
    lines
}
