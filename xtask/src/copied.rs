//! Figures of the book that are copies of figures in `results/`.
//!
//! A page has `<!-- figure results/NAME/FIGURE.svg -->` in the line before the image.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const OPEN: &str = "<!-- figure ";

/// The images of a page with such a marker, and their content according to `results/`.
///
/// # Errors
/// If a marker names no readable file of `results/`, or no image is in the next line.
pub(crate) fn figures(page: &Path, text: &str, root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(marker) = line.strip_prefix(OPEN) else { continue };
        let source = marker.strip_suffix(" -->").context("a marker of a figure is not closed")?;
        ensure!(source.starts_with("results/"), "the figure {source} is not in results/");
        let image = lines.next().and_then(|line| line.strip_prefix("![")?.strip_suffix(')'));
        let target = image.and_then(|image| image.rsplit_once("](")).map(|(_, target)| target);
        let target = target.with_context(|| format!("no image follows the marker of {source}"))?;
        let content = std::fs::read_to_string(root.join(source))
            .with_context(|| format!("cannot read {source}"))?;
        found.push((page.with_file_name(target), content));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_content_of_its_result() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(root.path().join("results/a")).expect("a folder");
        std::fs::write(root.path().join("results/a/gain.svg"), "<svg/>").expect("writes");
        let of = |text: &str| figures(Path::new("docs/src/page.md"), text, root.path());
        let found = of("x\n<!-- figure results/a/gain.svg -->\n![Gains [b](c)](figures/x.svg)\ny");
        let expected = (PathBuf::from("docs/src/figures/x.svg"), "<svg/>".to_owned());
        assert_eq!(found.expect("a figure"), [expected]);
        assert!(of("![no marker](figures/x.svg)").expect("reads").is_empty());
        for (text, told) in [
            ("<!-- figure results/a/gain.svg", "not closed"),
            ("<!-- figure a/gain.svg -->\n![x](y.svg)", "not in results/"),
            ("<!-- figure results/a/gain.svg -->\n\n![x](y.svg)", "no image follows"),
            ("<!-- figure results/a/speed.svg -->\n![x](y.svg)", "cannot read results/a/speed.svg"),
        ] {
            let error = of(text).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
