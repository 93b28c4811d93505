//! Updates tables of results in documents.
//!
//! A document contains `<!-- results/NAME -->` before a table and `<!-- / -->` after it. The table between is generated
//! from that folder: accuracies by method and sparsity. With `<!-- results/NAME#HEADING -->`, it is the first table
//! below that heading in the folder's `summary.md`.

use crate::{results::Results, summary};
use anyhow::{Context, Result, ensure};
use std::path::Path;

const OPEN: &str = "<!-- results/";
const CLOSE: &str = "<!-- / -->";

/// Replaces the tables of a document by those of the results below `results` in a folder.
///
/// # Errors
/// If a table has no end marker, or its results cannot be read.
pub fn with_tables(text: &str, root: &Path) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(OPEN) {
        let (name, behind) =
            behind.split_once(" -->").context("a marker of a table is not closed")?;
        let (old, behind) = behind
            .split_once(CLOSE)
            .with_context(|| format!("the table of results/{name} has no `{CLOSE}` after it"))?;
        ensure!(!old.contains(OPEN), "the table of results/{name} has no `{CLOSE}` after it");
        let table = match name.split_once('#') {
            Some((folder, heading)) => summarised(&root.join("results").join(folder), heading)?,
            None => summary::accuracies(&Results::load(&root.join("results").join(name))?),
        };
        out += &format!("{before}{OPEN}{name} -->\n{table}{CLOSE}");
        rest = behind;
    }
    Ok(out + rest)
}

/// The first table below a heading of a folder's `summary.md`.
fn summarised(folder: &Path, heading: &str) -> Result<String> {
    let path = folder.join("summary.md");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let is_heading =
        |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
    let mut lines = text.lines().skip_while(|line| !is_heading(line)).skip(1);
    let section = lines.by_ref().take_while(|line| !line.starts_with('#'));
    let is_row = |line: &&str| line.starts_with('|');
    let table: String = section
        .skip_while(|line| !is_row(line))
        .take_while(is_row)
        .map(|line| format!("{line}\n"))
        .collect();
    ensure!(!table.is_empty(), "{} has no table below `{heading}`", path.display());
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_written_between_their_markers() {
        let root = crate::testing::repository();
        let text = "a\n<!-- results/2026-11-29-vm -->\nold\n<!-- / -->\nb\n";
        let new = with_tables(text, &root).expect("tables");
        let head = "a\n<!-- results/2026-11-29-vm -->\n| method | dense | 90 % | 95 % | 98 % |\n";
        assert!(new.starts_with(head), "{new}");
        assert!(new.ends_with("|\n<!-- / -->\nb\n") && !new.contains("old"), "{new}");
        assert_eq!(with_tables(&new, &root).expect("tables"), new);
        assert!(with_tables("<!-- results/2026-11-29-vm -->", &root).is_err());
        assert!(with_tables("<!-- results/y --><!-- / -->", &root).is_err());
    }

    #[test]
    fn a_table_of_a_summary_is_found_by_its_heading() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = root.path().join("results/x");
        std::fs::create_dir_all(&folder).expect("a folder");
        let summary = "# All\n\n## a\n\n| 1 |\n\n| 2 |\n\n## b c\n\ntext\n\n| 3 |\n| 4 |\n\n## d\n";
        std::fs::write(folder.join("summary.md"), summary).expect("writes");
        let of = |heading: &str| {
            with_tables(&format!("<!-- results/x#{heading} --><!-- / -->"), root.path())
        };
        assert_eq!(of("a").expect("a table"), "<!-- results/x#a -->\n| 1 |\n<!-- / -->");
        assert_eq!(of("b c").expect("a table"), "<!-- results/x#b c -->\n| 3 |\n| 4 |\n<!-- / -->");
        for missing in ["d", "e"] {
            let error = of(missing).expect_err("no table").to_string();
            assert!(error.contains(&format!("no table below `{missing}`")), "{error}");
        }
    }
}
