//! Tests the report in Chromium, without a window. Skipped if there is no Chromium.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use taper_suite::{Results, report};

/// Measures the layout of the page, and sends the result to the enclosing page.
const PROBE: &str = r#"<script>
const errors = [];
addEventListener("error", event => errors.push(String(event.message || event.target)), true);
addEventListener("load", () => {
  const shown = element => element.getClientRects().length > 0;
  // Labels whose boxes share more than a pixel in both directions.
  const overlaps = drawing => {
    const labels = [...drawing.querySelectorAll("text")].filter(e => e.textContent.trim());
    const boxes = labels.map(label => label.getBoundingClientRect());
    const shared = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]);
    const over = (a, b) => shared(a, b, "left", "right") > 1 && shared(a, b, "top", "bottom") > 1;
    return labels.flatMap((label, i) => labels.slice(0, i).filter((_, j) => over(boxes[i], boxes[j]))
      .map(other => label.textContent.trim() + " over " + other.textContent.trim()));
  };
  const figures = [...document.querySelectorAll("figure")].map(figure => {
    const drawings = [...figure.querySelectorAll(".drawing svg")].filter(shown);
    const box = drawings[0]?.getBoundingClientRect() ?? { left: 0, right: 0, width: 0, height: 0 };
    return {
      id: figure.id,
      drawings: drawings.length,
      inside: box.left >= 0 && box.right <= innerWidth,
      width: box.width,
      height: box.height,
      strokes: drawings[0]?.querySelectorAll("polyline, rect, path").length ?? 0,
      words: drawings[0]?.textContent.trim().length ?? 0,
      alt: figure.querySelector("[role=img]")?.getAttribute("aria-label")?.length ?? 0,
      overlaps: drawings[0] ? overlaps(drawings[0]) : [],
      ink: drawings[0] ? getComputedStyle(drawings[0].querySelector("text")).fill : "",
    };
  });
  const scroll = document.querySelector(".scroll"), root = document.documentElement;
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    errors, figures,
    requests: performance.getEntriesByType("resource").length,
    overflows: root.scrollWidth > root.clientWidth,
    table_scrolls: scroll.scrollWidth > scroll.clientWidth,
    rows: document.querySelectorAll("tr.cell").length,
    unnamed: [...document.querySelectorAll("a, svg:not([aria-hidden])")]
      .filter(e => !e.textContent.trim() && !e.getAttribute("aria-label")).length,
  }), "*");
});
</script>"#;

/// Chromium under one of its names.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        // Some systems have a file with this name that only explains how to install it.
        .find(|file| {
            let version = Command::new(file).arg("--version").output();
            version.is_ok_and(|version| version.status.success())
        })
}

fn open(browser: &Path, args: &[&str], page: &Path) -> Vec<u8> {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(args)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    output.stdout
}

/// The measurements of the probe at this width, in CSS pixels. The page is in a frame, because windows have a minimum
/// width. The message of the probe becomes the title, which appears in a dump of the page.
fn seen(browser: &Path, page: &Path, width: u32) -> Value {
    let around = page.with_file_name(format!("around-{width}.html"));
    let name = page.file_name().expect("a name").to_string_lossy();
    let html = format!(
        "<title>no message arrived</title>\
         <script>addEventListener('message', event => document.title = event.data)</script>\
         <iframe src='{name}' width='{width}' height='900' style='border: 0'></iframe>"
    );
    fs::write(&around, html).expect("writes");
    let args = ["--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=5000"];
    let dump = open(browser, &args, &around);
    let dump = String::from_utf8_lossy(&dump);
    let title = dump.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let (title, _) = title.expect("the page has a title");
    serde_json::from_str(&title.replace("&amp;", "&")).expect("what the probe wrote")
}

/// The page of the newest results in the repository, generated in a separate folder.
fn made_anew(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found: Vec<PathBuf> = fs::read_dir(root.join("results"))
        .expect("results")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("report.html").is_file() && path.join("steps.csv").is_file())
        .collect();
    found.sort();
    let from = found.pop().expect("results of a suite");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "csv" || end == "json") {
            fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("copies");
        }
    }
    let results = Results::load(folder).expect("results");
    report::write_documents(&results, folder).expect("writes");
    folder.join("report.html")
}

#[test]
fn the_report_is_laid_out_on_every_screen_and_on_paper() {
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no chromium in the PATH");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = made_anew(folder.path());
    let probed = folder.path().join("probed.html");
    let text = fs::read_to_string(&page).expect("a page");
    fs::write(&probed, text.replacen("<title>", &format!("{PROBE}<title>"), 1)).expect("writes");
    for width in [1200, 820, 390] {
        let seen = seen(&browser, &probed, width);
        assert_eq!(seen["width"], width);
        assert_eq!(seen["errors"], serde_json::json!([]), "{width}");
        assert_eq!(seen["requests"], 0, "{width}: it needs nothing but itself");
        assert_eq!(seen["overflows"], false, "{width}: only tables scroll sideways");
        assert_eq!(seen["unnamed"], 0, "{width}");
        assert!(seen["rows"].as_u64().is_some_and(|n| n > 1), "{width}: {seen}");
        if width == 1200 {
            assert_eq!(seen["table_scrolls"], false, "all columns are seen at once");
        }
        let figures = seen["figures"].as_array().expect("figures");
        let ids: Vec<&str> = figures.iter().filter_map(|figure| figure["id"].as_str()).collect();
        assert!(
            matches!(ids[..], ["gain" | "accuracy", "curves", "speed", "schedule", ..]),
            "{ids:?}"
        );
        for figure in figures {
            let at_least = |key: &str, least: f64| figure[key].as_f64().is_some_and(|n| n >= least);
            assert_eq!(figure["drawings"], 1, "{width}: one of wide and narrow: {figure}");
            assert_eq!(figure["inside"], true, "{width}: {figure}");
            let least_width = f64::from(width.min(984)) * 0.8;
            assert!(
                at_least("width", least_width) && at_least("height", 50.0),
                "{width}: {figure}"
            );
            assert!(at_least("strokes", 4.0) && at_least("words", 20.0), "{width}: {figure}");
            assert_eq!(figure["overlaps"], serde_json::json!([]), "{width}: {figure}");
            assert!(at_least("alt", 60.0), "{width}: {figure}");
            assert!(figure["ink"].as_str().is_some_and(|ink| ink.starts_with("rgb")), "{figure}");
        }
    }
    let pdf = folder.path().join("report.pdf");
    open(&browser, &[&format!("--print-to-pdf={}", pdf.display())], &page);
    let pdf = fs::read(pdf).expect("a print");
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 20_000, "{} bytes", pdf.len());
}
