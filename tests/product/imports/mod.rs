//! Finds circular imports between source files or modules, and lists the types of a crate.
//!
//! An edge leads from the file that names an item to the file that defines it. Re-exports are followed and do not count
//! as uses. Method calls have no path and are ignored, as is code under `#[cfg(test)]`.

mod circles;
mod names;
mod parse;
mod tests;

use names::{Crate, Module, Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// For each file, the files it uses, with the names of the items.
type Edges = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// Files that use each other in a circle.
pub struct Circle {
    /// Sorted by path.
    pub files: Vec<PathBuf>,
    /// One line per edge within the circle, with the items.
    pub uses: String,
}

/// A type of a crate.
pub struct Type {
    pub name: String,
    /// The file that defines it.
    pub file: PathBuf,
    /// Whether it is `pub` without a restriction.
    pub is_public: bool,
}

/// The types of a crate except those for tests. `root` is the path of its root file.
pub fn types(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Vec<Type> {
    let mut found = Crate::default();
    parse::add_file(&mut found, root, true, &[], read);
    let modules = found.modules.into_values();
    let of_module = |module: Module| {
        let file = module.file;
        let types = module.types.into_iter();
        types.map(move |(name, is_public)| Type { name, file: file.clone(), is_public })
    };
    modules.flat_map(of_module).collect()
}

/// The circles among the files of some crates. `roots` are the paths of their root files. `read` returns the text of a
/// file, or `None` if there is no such file.
pub fn circles(roots: &[PathBuf], read: &dyn Fn(&Path) -> Option<String>) -> Vec<Circle> {
    circles_of(roots, read, &|_, file| file.to_path_buf())
}

/// The circles among the top-level modules of some crates. A module consists of all files in its folder.
pub fn circles_of_modules(
    roots: &[PathBuf],
    read: &dyn Fn(&Path) -> Option<String>,
) -> Vec<Circle> {
    circles_of(roots, read, &|root, file| {
        let folder = root.with_file_name("");
        match file.strip_prefix(&folder).ok().and_then(|path| path.components().next()) {
            Some(first) => folder.join(first).with_extension(""),
            None => file.to_path_buf(),
        }
    })
}

/// The circles among groups of files. `place` returns the group of a file, given the root of its crate and its path.
fn circles_of(
    roots: &[PathBuf],
    read: &dyn Fn(&Path) -> Option<String>,
    place: &dyn Fn(&Path, &Path) -> PathBuf,
) -> Vec<Circle> {
    let mut edges = Edges::new();
    for root in roots {
        let mut found = Crate::default();
        parse::add_file(&mut found, root, true, &[], read);
        add_edges(&found, &|file| place(root, file), &mut edges);
    }
    let targets = |file: &PathBuf| {
        edges.get(file).into_iter().flat_map(|uses| uses.keys()).cloned().collect()
    };
    let circles = circles::find(edges.keys(), &targets);
    circles.into_iter().map(|files| Circle { uses: show(&files, &edges), files }).collect()
}

fn add_edges(found: &Crate, place: &dyn Fn(&Path) -> PathBuf, edges: &mut Edges) {
    for (path, module) in &found.modules {
        let brought = module.brought.iter().map(|used| (used, true));
        let uses = module.uses.iter().map(|used| (used, false));
        for (used, prefers_module) in brought.chain(uses) {
            let Some(Name::Item(target)) = found.resolve(path, used, prefers_module) else {
                continue;
            };
            let (from, target) = (place(&module.file), place(&target));
            if target != from {
                let item = used.join("::");
                let from = edges.entry(from).or_default();
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
