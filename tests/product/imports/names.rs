//! Name resolution in the modules of a crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// The segments of a path, such as `["crate", "mask", "Mask"]`.
pub type Names = Vec<String>;

/// The modules of a crate by path, relative to its root.
#[derive(Default)]
pub struct Crate {
    pub modules: BTreeMap<Names, Module>,
}

/// A module with the names it defines, imports and uses.
#[derive(Default)]
pub struct Module {
    /// The file that contains it.
    pub file: PathBuf,
    /// Names of the items defined here.
    pub items: BTreeSet<String>,
    /// Names of the types among them, and whether each is `pub`.
    pub types: Vec<(String, bool)>,
    /// Imports of `use`: the local name and the path.
    pub imports: Vec<(String, Names)>,
    /// Paths before `::*`.
    pub globs: Vec<Names>,
    /// Paths of private `use` declarations. A path to a module does not count as a use of an item with the same path.
    pub brought: BTreeSet<Names>,
    /// Paths in code.
    pub uses: BTreeSet<Names>,
}

/// The target of a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    /// An item, with the file that defines it.
    Item(PathBuf),
    Module(Names),
}

impl Crate {
    /// Resolves a path in module `at`; `None` if it leads to another crate or is not a path. If a module and an item
    /// have the same path, `prefers_module` selects one.
    pub fn resolve(&self, at: &[String], path: &[String], prefers_module: bool) -> Option<Name> {
        self.follow(at, path, prefers_module, &mut BTreeSet::new())
    }

    /// `seen` holds the paths that are being followed: globs and imports may lead back to themselves.
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
                // The remaining segments are associated items.
                item => return Some(item),
            }
            rest = behind;
        }
        Some(Name::Module(place))
    }

    /// Looks up a name in module `at`. If a module and an item have the same name, `leads_on` selects the module.
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
                Name::Item(_) => None, // Variants of an enum: the glob itself counts as a use of the enum's file.
            })
        })
    }
}
