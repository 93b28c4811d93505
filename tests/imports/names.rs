//! What names mean in the modules of a crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Names one behind the other, as `["crate", "mask", "Mask"]`.
pub type Names = Vec<String>;

/// The modules of a crate by their paths below its root.
#[derive(Default)]
pub struct Crate {
    pub modules: BTreeMap<Names, Module>,
}

/// A module and what it names.
#[derive(Default)]
pub struct Module {
    /// The file that it is written in.
    pub file: PathBuf,
    /// Names of the items defined here.
    pub items: BTreeSet<String>,
    /// Names of the types among them, and whether each is `pub`.
    pub types: Vec<(String, bool)>,
    /// What `use` brings in: a name, and the path behind it.
    pub imports: Vec<(String, Names)>,
    /// Paths in front of `::*`.
    pub globs: Vec<Names>,
    /// Paths behind `use` that re-export nothing. One to a module is no use of an item that shares its path.
    pub brought: BTreeSet<Names>,
    /// Paths in code.
    pub uses: BTreeSet<Names>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    /// An item, with the file that defines it.
    Item(PathBuf),
    Module(Names),
}

impl Crate {
    /// What a path means that is written in module `at`; nothing if it leads to another crate or is no path at all.
    /// A module and an item may share a path: `prefers_module` says which is meant.
    pub fn resolve(&self, at: &[String], path: &[String], prefers_module: bool) -> Option<Name> {
        self.follow(at, path, prefers_module, &mut BTreeSet::new())
    }

    /// `seen` has the paths that are being followed, as globs and imports may lead to themselves.
    fn follow(
        &self,
        at: &[String],
        path: &[String],
        prefers_module: bool,
        seen: &mut BTreeSet<(Names, Names)>,
    ) -> Option<Name> {
        if !seen.insert((at.to_vec(), path.to_vec())) {
            return None;
        }
        let (mut place, mut rest) = (at.to_vec(), path);
        while let Some((first, behind)) = rest.split_first() {
            match first.as_str() {
                "crate" => place.clear(),
                "self" => {}
                "super" => drop(place.pop()),
                _ => break,
            }
            rest = behind;
        }
        while let Some((first, behind)) = rest.split_first() {
            let leads_on = prefers_module || !behind.is_empty();
            match self.look_up(&place, first, leads_on, seen)? {
                Name::Module(path) => place = path,
                // What lies behind is associated with it.
                item => return Some(item),
            }
            rest = behind;
        }
        Some(Name::Module(place))
    }

    /// A name in module `at`. Modules and items have names of their own kind: in front of `::` a module is preferred.
    fn look_up(
        &self,
        at: &[String],
        name: &str,
        leads_on: bool,
        seen: &mut BTreeSet<(Names, Names)>,
    ) -> Option<Name> {
        let module = self.modules.get(at)?;
        let child: Names = at.iter().cloned().chain([name.to_string()]).collect();
        let child = self.modules.contains_key(&child).then_some(Name::Module(child));
        if leads_on && child.is_some() {
            return child;
        }
        if module.items.contains(name) {
            return Some(Name::Item(module.file.clone()));
        }
        let imports = module.imports.iter().filter(|(known, _)| known == name);
        let imported: Vec<Name> =
            imports.filter_map(|(_, path)| self.follow(at, path, leads_on, seen)).collect();
        let is_meant = |name: &&Name| matches!(name, Name::Module(_)) == leads_on;
        let imported = imported.iter().find(is_meant).or(imported.first()).cloned();
        imported.or(child).or_else(|| {
            module.globs.iter().find_map(|glob| match self.follow(at, glob, true, seen)? {
                Name::Module(path) => self.look_up(&path, name, leads_on, seen),
                Name::Item(_) => None, // Variants of an enum, whose file the glob itself names.
            })
        })
    }
}
