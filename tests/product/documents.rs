//! Checks README.md and the book: their links, and their examples.

use crate::support::{self, Folder, code, files, read, repository, run, taper};
use pulldown_cmark::{Event, Tag};
use std::collections::BTreeSet;

#[test]
fn every_link_of_a_document_leads_somewhere_and_every_page_is_in_the_book() {
    let root = repository();
    let book = root.join("docs/src");
    let mut linked = BTreeSet::new();
    let mut n_links = 0;
    for document in files(&root, ".md").iter().filter(|p| !p.starts_with(root.join("runs"))) {
        let (text, folder) = (read(document), document.parent().expect("a folder"));
        for event in pulldown_cmark::Parser::new(&text) {
            let to = match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => dest_url,
                _ => continue,
            };
            let path = to.split('#').next().unwrap_or_default();
            if path.is_empty() || to.contains("://") {
                continue;
            }
            let target = folder.join(path);
            let place = document.display();
            assert!(target.exists(), "{place} links to {to}, which is not there");
            // The book is built from its own folder only.
            let stays = !document.starts_with(&book)
                || target.canonicalize().is_ok_and(|t| t.starts_with(&book));
            assert!(stays, "{place} links to {to}, which is not in the book");
            if document.ends_with("SUMMARY.md") {
                linked.insert(target);
            }
            n_links += 1;
        }
    }
    assert!(n_links > 30, "{n_links}");
    for page in files(&book, ".md") {
        assert!(
            page.ends_with("SUMMARY.md") || linked.contains(&page),
            "{} is not in the book",
            page.display()
        );
    }
}

#[test]
fn the_experiment_of_the_book_trains_and_has_every_key() {
    let folder = Folder::new();
    let page = read(&repository().join("docs/src/training.md"));
    let blocks = code(&page, "toml");
    let [block] = &blocks[..] else { panic!("{} blocks of TOML", blocks.len()) };
    let file = folder.write("book.toml", block);
    let (noise, out) = (support::cifar_of_noise(&folder), folder.text("out"));
    let said = run(taper(&["train", &file, "--data", &noise, "--quiet", "--out", &out]).args([
        "--max-steps",
        "1",
        "--set",
        "train.limit=32",
    ]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let run = support::json(&folder.path("out/run.json"));
    // The book shows keys without effect as comments, with their values.
    let lines = block.lines().filter(|line| !line.starts_with("# ") || line.contains(" = "));
    let shown: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
    let shown: toml::Table = shown.join("\n").parse().expect("TOML");
    for section in ["train", "prune"] {
        let recipe = run["recipe"][section].as_object().expect("a section");
        let table = shown[section].as_table().expect("a section");
        let missing: Vec<&String> = recipe.keys().filter(|key| !table.contains_key(*key)).collect();
        assert!(missing.is_empty(), "the book does not show {section}.{missing:?}");
    }
}

#[test]
fn the_training_loop_of_the_readme_is_part_of_the_example() {
    let root = repository();
    let example = read(&root.join("crates/taper/examples/own_loop.rs"));
    let example: BTreeSet<&str> = example.lines().map(str::trim).collect();
    let blocks = code(&read(&root.join("README.md")), "rust");
    assert_eq!(blocks.len(), 1);
    for line in blocks[0].lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        assert!(example.contains(line), "the example has no line `{line}`");
    }
}
