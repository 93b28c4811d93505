//! Tarjan's algorithm for strongly connected components (1972).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Sets of at least two files that reach each other. The files of a set are sorted.
pub fn find<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
    targets: &dyn Fn(&PathBuf) -> Vec<PathBuf>,
) -> BTreeSet<Vec<PathBuf>> {
    let mut search =
        Search { targets, reached: BTreeMap::new(), open: Vec::new(), found: BTreeSet::new() };
    for file in files {
        if !search.reached.contains_key(file) {
            search.visit(file);
        }
    }
    search.found
}

struct Search<'a> {
    targets: &'a dyn Fn(&PathBuf) -> Vec<PathBuf>,
    /// The order in which files were reached.
    reached: BTreeMap<PathBuf, usize>,
    /// Files whose component is not complete.
    open: Vec<PathBuf>,
    found: BTreeSet<Vec<PathBuf>>,
}

impl Search<'_> {
    /// Visits a file. Returns the lowest order number among the open files that this file reaches.
    fn visit(&mut self, file: &PathBuf) -> usize {
        let at = self.reached.len();
        self.reached.insert(file.clone(), at);
        self.open.push(file.clone());
        let mut low = at;
        for target in (self.targets)(file) {
            if !self.reached.contains_key(&target) {
                low = low.min(self.visit(&target));
            } else if self.open.contains(&target) {
                low = low.min(self.reached[&target]);
            }
        }
        if low == at {
            let first = self.open.iter().position(|open| open == file).expect("it is open");
            let mut component = self.open.split_off(first);
            component.sort();
            if component.len() > 1 {
                self.found.insert(component);
            }
        }
        low
    }
}
