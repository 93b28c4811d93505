//! Tests of the search for circular imports, on small crates.

use super::circles;
use std::path::{Path, PathBuf};

/// The circles of a crate. The first file is its root.
fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let read = |path: &Path| {
        let named = files.iter().find(|(name, _)| Path::new(name) == path);
        named.map(|(_, text)| text.to_string())
    };
    let shown = |path: PathBuf| path.display().to_string();
    let circles = circles(&[PathBuf::from(files[0].0)], &read);
    circles.into_iter().map(|circle| circle.files.into_iter().map(shown).collect()).collect()
}

#[test]
fn files_that_use_each_other_are_a_circle() {
    let (a, b) = ("use crate::b::B; pub struct A;", "pub struct B; fn f(_: super::a::A) {}");
    assert_eq!(
        found(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b/mod.rs", b)]),
        [["a.rs", "b/mod.rs"]]
    );
    // Through a third file.
    let (b, c) = ("pub struct B(crate::c::C);", "pub struct C; use crate::a::*; type T = A;");
    let files = [("lib.rs", "mod a; mod b; mod c;"), ("a.rs", a), ("b.rs", b), ("c.rs", c)];
    assert_eq!(found(&files), [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn a_module_that_declares_and_re_exports_is_in_no_circle_with_its_own() {
    let child = "use super::Choice; pub struct Magnitude; impl Choice for Magnitude {}";
    let declares = "mod child; pub use child::Magnitude; pub trait Choice {}";
    assert!(found(&[("lib.rs", declares), ("child.rs", child)]).is_empty());
    let uses = format!("{declares} pub fn usual() -> Magnitude {{ todo!() }}");
    assert_eq!(found(&[("lib.rs", &uses), ("child.rs", child)]), [["child.rs", "lib.rs"]]);
}

#[test]
fn re_exports_lead_to_the_file_that_defines() {
    // The root uses b; b uses a through the root's re-exports.
    let root = "mod a; mod b; pub use a::{A as Other, f}; use b::B; fn g(_: B) {}";
    let b = "use crate::Other; pub struct B(Other); fn h() { crate::f(); Other::new() }";
    let files = [("lib.rs", root), ("a.rs", "pub struct A; pub fn f() {}"), ("b.rs", b)];
    assert!(found(&files).is_empty());
}

#[test]
fn macros_are_read_and_code_for_tests_and_variables_are_not() {
    let root = |body: &str| format!("mod a; pub struct Root; {body}");
    let of =
        |body: &str| found(&[("lib.rs", &root(body)), ("a.rs", "use crate::Root; pub fn f() {}")]);
    assert_eq!(of("fn g() { vec![a::f()]; }").len(), 1);
    assert_eq!(of("fn g() { a::f(); }").len(), 1);
    assert!(of("#[cfg(test)] mod tests { fn g() { crate::a::f(); } }").is_empty());
    assert!(of("#[cfg(all(test, unix))] use a::f;").is_empty());
    assert_eq!(of("#[cfg(not(test))] use a::f;").len(), 1);
    assert!(of("pub use a::f; fn g(f: u8) -> u8 { f }").is_empty());
}

#[test]
fn a_module_and_an_item_of_the_same_name_are_distinguished() {
    let of = |code: &str| {
        let b = format!("use super::f; pub fn g() {{ {code} }}");
        let a = "pub fn f() { crate::b::g() }";
        let root = "mod a; mod b; mod f; pub use a::f;";
        found(&[("lib.rs", root), ("a.rs", a), ("b.rs", &b), ("f.rs", "pub fn h() {}")]).len()
    };
    assert_eq!([of("f::h()"), of("f()")], [0, 1]);
}
