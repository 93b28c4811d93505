//! Parses a source file and the files of the modules it declares.

use super::names::{Crate, Module, Names};
use proc_macro2::{TokenStream, TokenTree};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// Adds the module `path`, which is the whole file `file`, and its submodules. With `is_folder`, the files of its
/// submodules lie in the same folder, as for `mod.rs` and the root of a crate.
pub fn add_file(
    found: &mut Crate,
    file: &Path,
    is_folder: bool,
    path: &[String],
    read: &dyn Fn(&Path) -> Option<String>,
) {
    let text = read(file).unwrap_or_else(|| panic!("{} is not there", file.display()));
    let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let folder = if is_folder { file.with_file_name("") } else { file.with_extension("") };
    add_items(found, &parsed.items, file, &folder, path, read);
}

fn add_items(
    found: &mut Crate,
    items: &[Item],
    file: &Path,
    folder: &Path,
    path: &[String],
    read: &dyn Fn(&Path) -> Option<String>,
) {
    let mut reader = Reader {
        module: Module { file: file.to_path_buf(), ..Module::default() },
        children: Vec::new(),
        variables: BTreeSet::new(),
    };
    for item in items {
        reader.define(item);
        reader.define_type(item);
    }
    items.iter().for_each(|item| reader.visit_item(item));
    found.modules.insert(path.to_vec(), reader.module);
    for child in reader.children {
        let name = name(&child.ident);
        let path: Names = path.iter().cloned().chain([name.clone()]).collect();
        if let Some((_, items)) = &child.content {
            add_items(found, items, file, &folder.join(name), &path, read);
            continue;
        }
        if let Some(at) = place(&child.attrs) {
            // `#[path]` is relative to the folder of the declaring file.
            let file = normal(&file.with_file_name("").join(at));
            add_file(found, &file, true, &path, read);
            continue;
        }
        let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
        let is_flat = read(&flat).is_some();
        add_file(found, if is_flat { &flat } else { &nested }, !is_flat, &path, read);
    }
}

/// Collects the names in a module. Submodules are collected in `children` and parsed later.
struct Reader {
    module: Module,
    children: Vec<ItemMod>,
    /// Names of variables in the current function; they shadow items.
    variables: BTreeSet<String>,
}

/// Collects the names of variables.
#[derive(Default)]
struct Variables(BTreeSet<String>);

impl<'a> Visit<'a> for Variables {
    fn visit_pat_ident(&mut self, pattern: &'a syn::PatIdent) {
        self.0.insert(name(&pattern.ident));
        visit::visit_pat_ident(self, pattern);
    }
}

impl Reader {
    fn define(&mut self, item: &Item) {
        let ident = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::TraitAlias(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Macro(item) => match &item.ident {
                Some(ident) => ident,
                None => return,
            },
            _ => return,
        };
        self.module.items.insert(name(ident));
    }

    /// Ignores types that exist only in tests.
    fn define_type(&mut self, item: &Item) {
        let (attributes, visibility, ident) = match item {
            Item::Enum(item) => (&item.attrs, &item.vis, &item.ident),
            Item::Struct(item) => (&item.attrs, &item.vis, &item.ident),
            Item::Trait(item) => (&item.attrs, &item.vis, &item.ident),
            Item::Type(item) => (&item.attrs, &item.vis, &item.ident),
            Item::Union(item) => (&item.attrs, &item.vis, &item.ident),
            _ => return,
        };
        if !attributes.iter().any(is_test) {
            let is_public = matches!(visibility, Visibility::Public(_));
            self.module.types.push((name(ident), is_public));
        }
    }

    /// Collects the paths of a `use` declaration. `exports`: it is a re-export and does not count as a use.
    fn import(&mut self, tree: &UseTree, before: &[String], exports: bool) {
        let with = |ident| before.iter().cloned().chain([name(ident)]).collect::<Names>();
        let mut add = |known: String, mut path: Names| {
            if path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            if !exports {
                self.module.brought.insert(path.clone());
            }
            self.module.imports.push((known, path));
        };
        match tree {
            UseTree::Path(tree) => self.import(&tree.tree, &with(&tree.ident), exports),
            UseTree::Name(tree) if tree.ident == "self" => {
                add(before.last().cloned().unwrap_or_default(), before.to_vec());
            }
            UseTree::Name(tree) => add(name(&tree.ident), with(&tree.ident)),
            UseTree::Rename(tree) => add(name(&tree.rename), with(&tree.ident)),
            UseTree::Glob(_) => {
                self.module.globs.push(before.to_vec());
                self.module.brought.insert(before.to_vec());
            }
            UseTree::Group(tree) => {
                tree.items.iter().for_each(|tree| self.import(tree, before, exports));
            }
        }
    }

    /// Collects everything in the tokens of a macro that looks like a path.
    fn scan(&mut self, tokens: TokenStream) {
        let (mut path, mut is_field, mut n_colons) = (Names::new(), false, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if n_colons == 2 && !path.is_empty() => {
                    path.push(name(&ident));
                }
                TokenTree::Ident(ident) => {
                    self.end(&mut path);
                    if !is_field {
                        path.push(name(&ident));
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    n_colons += 1;
                    continue;
                }
                TokenTree::Punct(punct) => {
                    self.end(&mut path);
                    is_field = punct.as_char() == '.';
                    n_colons = 0;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end(&mut path);
                    self.scan(group.stream());
                }
                TokenTree::Literal(_) => self.end(&mut path),
            }
            (is_field, n_colons) = (false, 0);
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Names) {
        self.add(std::mem::take(path));
    }

    fn add(&mut self, path: Names) {
        let is_variable = matches!(&path[..], [name] if self.variables.contains(name));
        if !path.is_empty() && !is_variable {
            self.module.uses.insert(path);
        }
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        let mut variables = Variables::default();
        variables.visit_item_fn(item);
        let outer = std::mem::replace(&mut self.variables, variables.0);
        visit::visit_item_fn(self, item);
        self.variables = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if item.attrs.iter().any(is_test) {
            return;
        }
        let mut variables = Variables::default();
        variables.visit_impl_item_fn(item);
        let outer = std::mem::replace(&mut self.variables, variables.0);
        visit::visit_impl_item_fn(self, item);
        self.variables = outer;
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.children.push(item.clone());
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.add(path.segments.iter().map(|s| name(&s.ident)).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        self.scan(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

/// The identifier without `r#`.
fn name(ident: &proc_macro2::Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_string()
}

/// Whether code with this attribute is compiled for tests only.
fn is_test(attribute: &Attribute) -> bool {
    fn asks(tokens: TokenStream) -> bool {
        let mut negated = false;
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => {
                negated = ident == "not";
                ident == "test" || ident == "doctest"
            }
            TokenTree::Group(group) => !negated && asks(group.stream()),
            _ => false,
        })
    }
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| asks(list.tokens.clone()))
}

/// The file that `#[path]` names.
fn place(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|a| a.path().is_ident("path"))?;
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The path without `..`: each file then has one name.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}
