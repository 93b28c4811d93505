//! `report.html`: a single page that needs no network.

use std::path::Path;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Serialize;

use crate::cells::{self, Cell};
use crate::figure::Figure;
use crate::gain;
use crate::results::{Results, RunLine};
use crate::summary;
use taper_report::format;

const TEMPLATE: &str = include_str!("../templates/report.html");

/// A line of the table.
#[derive(Serialize)]
struct Line {
    /// All columns except the last.
    texts: Vec<String>,
    /// `pass`, `fail`, `no band` or `not run`.
    verdict: &'static str,
    reasons: Vec<String>,
    /// The runs of the cell; empty if none of them can be linked.
    runs: Vec<RunLink>,
}

/// A run of a cell.
#[derive(Serialize)]
struct RunLink {
    seed: u64,
    /// Its folder relative to the page, if it exists.
    folder: Option<String>,
    /// Its pruned checkpoint relative to the page, if it exists.
    checkpoint: Option<String>,
}

/// A band as a line of its table.
#[derive(Serialize)]
struct BandLine {
    cell: String,
    bounds: String,
    source: String,
}

/// Renders the page of a results folder, with links to the run folders and checkpoints that exist.
///
/// # Errors
/// If a figure cannot be drawn or the template does not fit; neither depends on the measurements.
pub(crate) fn render(results: &Results, figures: &[Figure], dir: &Path) -> Result<String> {
    let ranked = gain::ranked(results);
    let cells: Vec<&Cell> = ranked.iter().map(|compared| &compared.cell).collect();
    let lines: Vec<Line> = ranked
        .iter()
        .map(|compared| {
            let cell = &compared.cell;
            let mut texts = summary::line(compared).to_vec();
            texts.pop();
            let link = |run: &&RunLine| {
                let checkpoint = run.checkpoint.clone().filter(|path| dir.join(path).is_file());
                let folder = run.checkpoint.as_deref().and_then(|path| path.rsplit_once('/'));
                let folder = folder.map(|(folder, _)| folder.to_owned());
                let folder = folder.filter(|path| dir.join(path).is_dir());
                RunLink { seed: run.seed, folder, checkpoint }
            };
            let mut runs: Vec<RunLink> = cell.runs.iter().map(link).collect();
            if runs.iter().all(|run| run.folder.is_none() && run.checkpoint.is_none()) {
                runs.clear();
            }
            Line {
                texts,
                verdict: cell.verdict.word(),
                reasons: cell.verdict.reasons().to_vec(),
                runs,
            }
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
    // A misspelt name must not leave a gap in the page.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.context("the syntax of the template is not valid")?);
    environment
        .add_template("report.html", TEMPLATE)
        .context("the template of the report is not valid")?;
    let page = environment.get_template("report.html")?.render(context! {
        title => results.manifest.title.clone(),
        byline => summary::byline(results),
        tone => match (cells::passed(results), cells.iter().any(|cell| cell.verdict.is_judged())) {
            (false, _) => "fail",
            (true, true) => "pass",
            (true, false) => "",
        },
        verdict => summary::verdict(results),
        columns => Serde(summary::COLUMNS),
        seeds_column => summary::SEEDS,
        legend => summary::legend(results),
        gain_note => gain::note(&ranked),
        lines => Serde(lines),
        figures => Serde(figures),
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
    use crate::{cells::cells, figure, testing};

    /// The page as HTML, to search for words.
    fn page(results: &Results) -> String {
        let figures = figure::all(results).expect("draws");
        render(results, &figures, Path::new("nowhere")).expect("renders")
    }

    #[test]
    fn every_figure_and_every_row_is_there() {
        let results = testing::results();
        let page = page(&results);
        for id in ["accuracy", "curves", "speed", "schedule", "stability", "layers"] {
            assert!(page.contains(&format!("<figure id=\"{id}\"")), "{id}");
        }
        assert_eq!(page.matches("<div class=\"wide\"><svg viewBox=").count(), 6);
        assert_eq!(page.matches("<div class=\"narrow\"><svg viewBox=").count(), 6);
        assert_eq!(page.matches("role=\"img\" aria-label=\"").count(), 6);
        assert_eq!(page.matches("<tr class=\"cell\">").count(), cells(&results).len());
        for text in [
            "89.10 ± 0.10 %",
            "Example CPU",
            "0123456789abcdef",
            "our measurement",
            "Pass: of 5 results",
            "suite quick · 2025-03-04 · commit 0123456789ab · Example CPU · 2 cores",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn runs_and_checkpoints_that_are_there_are_linked() {
        let results = testing::results();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = results.runs[1].checkpoint.clone().expect("a checkpoint");
        let file = dir.path().join(&path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, "").expect("writes");
        let page = render(&results, &[], dir.path()).expect("renders");
        assert_eq!(page.matches("<a href=").count(), 2);
        let path = path.replace('/', "&#x2f;");
        let folder = path.rsplit_once("&#x2f;").expect("a folder").0;
        let links = format!(
            "<a href=\"{folder}/\" aria-label=\"Run of seed 1\">1</a>&nbsp;\
             <a href=\"{path}\" aria-label=\"Checkpoint of seed 1\">↓</a>"
        );
        assert!(page.contains(&format!("0, {links}, 2")), "others are named alone: {page}");
        let cells = page.matches("<td class=\"seeds\">").count();
        assert_eq!(cells, 1, "without run folders, the seeds are counted");
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
        assert!(page.contains("Fail: of 5 results, 1 failed"));
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
