//! `report.html`: one page with everything in it, that needs no network.

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Serialize;

use crate::cells;
use crate::figure;
use crate::results::Results;
use crate::summary;
use taper_report::format;

const TEMPLATE: &str = include_str!("../templates/report.html");

/// A line of the table.
#[derive(Serialize)]
struct Line {
    /// All but the last column.
    texts: Vec<String>,
    /// `pass`, `fail`, `no band` or `not run`.
    verdict: &'static str,
    reasons: Vec<String>,
}

/// A band as a line of its table.
#[derive(Serialize)]
struct BandLine {
    cell: String,
    bounds: String,
    source: String,
}

/// Renders the page.
///
/// # Errors
/// When a figure cannot be drawn or the template does not fit; neither depends on what was measured.
pub(crate) fn render(results: &Results) -> Result<String> {
    let cells = cells::shown(results);
    let lines: Vec<Line> = cells
        .iter()
        .map(|cell| {
            let mut texts = summary::line(cell).to_vec();
            texts.pop();
            Line { texts, verdict: cell.verdict.word(), reasons: cell.verdict.reasons().to_vec() }
        })
        .collect();
    let bands: Vec<BandLine> = cells
        .iter()
        .filter_map(|cell| {
            let band = cell.band?;
            let low = format::percent(band.accuracy_min, 2);
            let bounds = match band.accuracy_max {
                Some(max) => format!("{low} to {}", format::percent(max, 2)),
                None => format!("at least {low}"),
            };
            Some(BandLine { cell: cell.name(), bounds, source: band.source.clone() })
        })
        .collect();

    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // A misspelt name must not leave a hole in the page.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.context("the syntax of the template is not valid")?);
    environment
        .add_template("report.html", TEMPLATE)
        .context("the template of the report is not valid")?;
    let page = environment.get_template("report.html")?.render(context! {
        title => results.manifest.title.clone(),
        byline => summary::byline(results),
        passed => cells::passed(results),
        verdict => summary::verdict(results),
        columns => Serde(summary::COLUMNS),
        lines => Serde(lines),
        figures => Serde(figure::all(results)?),
        bands => Serde(bands),
        failed => Serde(&results.manifest.failed),
        notes => Serde(summary::notes(results)),
        provenance => Serde(summary::provenance(results)),
    });
    page.context("cannot render the report")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cells::cells, testing};

    /// What a browser would show of it, roughly: enough to look for words.
    fn page(results: &Results) -> String {
        render(results).expect("renders")
    }

    #[test]
    fn every_figure_and_every_row_is_there() {
        let results = testing::results();
        let page = page(&results);
        for id in ["accuracy", "curves", "schedule", "layers"] {
            assert!(page.contains(&format!("<figure id=\"{id}\"")), "{id}");
        }
        assert_eq!(page.matches("<div class=\"wide\"><svg viewBox=").count(), 4);
        assert_eq!(page.matches("<div class=\"narrow\"><svg viewBox=").count(), 4);
        assert_eq!(page.matches("role=\"img\" aria-label=\"").count(), 4);
        assert_eq!(page.matches("<tr class=\"cell\">").count(), cells(&results).len());
        for text in [
            "89.10 ± 0.10 %",
            "Example CPU",
            "0123456789abcdef",
            "our measurement",
            "Pass: of 5 cells",
            "suite quick · 2025-03-04 · commit 0123456789ab · Example CPU · 2 cores",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn the_page_needs_no_network() {
        let page = page(&testing::results());
        for word in ["http", "//www", "src=", "@import", "url(", "<link", "<script"] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn text_is_escaped_and_drawings_are_not() {
        let mut results = testing::results();
        results.manifest.failed.push(testing::failed_run());
        let page = page(&results);
        assert!(page.contains("GMP &lt;&amp;&gt;") && !page.contains("GMP <&>"));
        assert!(page.contains("&lt;conv1&gt;"));
        assert!(!page.contains("&lt;svg"));
        assert!(page.contains("Fail: of 5 cells, 1 failed"));
    }

    #[test]
    fn a_page_without_any_run_renders() {
        let mut results = testing::results();
        results.runs.clear();
        results.curves.clear();
        results.steps.clear();
        results.layers.clear();
        assert!(page(&results).contains("not run"));
    }
}
