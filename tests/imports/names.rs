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
    /// What `use` brings in: a name, and the path behind it.
    pub imports: Vec<(String, Names)>,
    /// Paths in front of `::*`.
    pub globs: Vec<Names>,
    /// All paths that count as a use of what they name.
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
    pub fn resolve(&self, at: &[String], path: &[String]) -> Option<Name> {
        self.follow(at, path, &mut BTreeSet::new())
    }

    /// `seen` has the paths that are being followed, as globs and imports may lead to themselves.
    fn follow(
        &self,
        at: &[String],
        path: &[String],
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
            match self.look_up(&place, first, !behind.is_empty(), seen)? {
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
            imports.filter_map(|(_, path)| self.follow(at, path, seen)).collect();
        let is_item = |name: &&Name| matches!(name, Name::Item(_));
        let imported = imported.iter().find(is_item).or(imported.first()).cloned();
        imported.or(child).or_else(|| {
            module.globs.iter().find_map(|glob| match self.follow(at, glob, seen)? {
                Name::Module(path) => self.look_up(&path, name, leads_on, seen),
                Name::Item(_) => None, // Variants of an enum, whose file the glob itself names.
            })
        })
    }
}
