//! Checks the labels of the figures: none overlaps another, leaves its figure, is too small or too faint.

use roxmltree::{Document, Node};
use taper_report::chart::{SCALE, width};

use super::{Figure, all};
use crate::results::{FateLine, Results};
use crate::suite::SuiteRow;
use crate::testing;

/// Height of letters above and below the baseline, relative to the font size.
const ASCENT: f64 = 0.75;
const DESCENT: f64 = 0.22;
/// Height of a lower-case letter, `1ex`, relative to the font size.
const EX: f64 = 0.53;

/// A label in CSS pixels at the natural size of its drawing.
#[derive(Debug)]
struct Label {
    text: String,
    size: f64,
    fill: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Label {
    /// Reads a `text` element.
    fn of(node: Node) -> Self {
        let number = |name: &str| -> f64 {
            node.attribute(name).and_then(|text| text.parse().ok()).unwrap_or(0.0)
        };
        let text = node.text().unwrap_or("").trim().to_owned();
        let (x, y, size) = (number("x"), number("y"), number("font-size"));
        let down = match node.attribute("dy") {
            None => 0.0,
            Some(dy) => match (dy.strip_suffix("em"), dy.strip_suffix("ex")) {
                (Some(em), _) => em.parse::<f64>().expect("a number") * size,
                (_, Some(ex)) => ex.parse::<f64>().expect("a number") * EX * size,
                _ => panic!("dy={dy}"),
            },
        };
        let across = width(&text, size);
        let left = match node.attribute("text-anchor") {
            Some("middle") => -across / 2.0,
            Some("end") => -across,
            _ => 0.0,
        };
        let (mut h, mut v) = ([left, left + across], [down - ASCENT * size, down + DESCENT * size]);
        match node.attribute("transform").and_then(|t| t.strip_prefix("rotate(")?.split(',').next())
        {
            None => {}
            Some("90") => (h, v) = ([-v[1], -v[0]], h),
            Some("270") => (h, v) = (v, [-h[1], -h[0]]),
            Some(angle) => panic!("turned by {angle}"),
        }
        let mut corners = [(x + h[0], y + v[0]), (x + h[1], y + v[1])];
        let mut scale = 1.0;
        for group in node.ancestors().filter(|node| node.has_tag_name("g")) {
            let transform = group.attribute("transform").unwrap_or("");
            let inner = transform.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
            let numbers: Vec<f64> = inner
                .unwrap_or("")
                .split_whitespace()
                .map(|number| number.parse().expect("a number"))
                .collect();
            for corner in &mut corners {
                match (transform.split('(').next(), &numbers[..]) {
                    (Some("translate"), [x, y]) => *corner = (corner.0 + x, corner.1 + y),
                    (Some("scale"), [by]) => *corner = (corner.0 * by, corner.1 * by),
                    _ => panic!("{transform}"),
                }
            }
            if let (Some("scale"), [by]) = (transform.split('(').next(), &numbers[..]) {
                scale *= by;
            }
        }
        let units = f64::from(SCALE);
        Self {
            text,
            size: size * scale / units,
            fill: node.attribute("fill").unwrap_or("").to_owned(),
            left: corners[0].0 / units,
            right: corners[1].0 / units,
            top: corners[0].1 / units,
            bottom: corners[1].1 / units,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// The faults of the labels in a drawing.
fn faults(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).expect("an SVG");
    let root = document.root_element();
    let size = root.attribute("viewBox").and_then(|sizes| sizes.strip_prefix("0 0 "));
    let (w, h) = size.and_then(|sizes| sizes.split_once(' ')).expect("a size");
    let in_pixels = |text: &str| text.parse::<f64>().expect("a number") / f64::from(SCALE);
    let (w, h) = (in_pixels(w), in_pixels(h));
    let labels: Vec<Label> = root
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .map(Label::of)
        .filter(|label| !label.text.is_empty())
        .collect();
    let mut faults = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        if label.left < 0.0 || label.top < 0.0 || label.right > w || label.bottom > h {
            faults.push(format!("{label:?} leaves the figure of {w} by {h}"));
        }
        if label.size < 11.0 - 0.01 {
            faults.push(format!("{label:?} is small"));
        }
        if !["var(--ink)", "var(--muted)", "#111111", "#666666"].contains(&label.fill.as_str()) {
            faults.push(format!("{label:?} is not dark"));
        }
        let over = labels[..i].iter().filter(|other| label.overlaps(other));
        faults.extend(over.map(|other| format!("{label:?} is over {other:?}")));
    }
    faults
}

/// Asserts that the labels of all figures have no faults, and that at least these figures exist.
fn assert_readable(results: &Results, name: &str, at_least: &[&str]) {
    let figures = all(results).expect("draws");
    for id in at_least {
        assert!(figures.iter().any(|figure| figure.id == *id), "{name} has no figure {id}");
    }
    let mut found = Vec::new();
    for figure in &figures {
        let Figure { id, wide, narrow, .. } = figure;
        let file = figure.file().expect("a file");
        for (form, svg) in [("wide", wide), ("narrow", narrow), ("file", &file)] {
            let faults = faults(svg);
            let n = faults.len();
            found.extend(faults.first().map(|first| format!("{id}, {form}: {n}, such as {first}")));
        }
    }
    assert!(found.is_empty(), "{name}: {found:#?}");
}

/// Results of `n` rows and a dense row, with names of this length, and with many sparsities and layers.
fn made_up(n: usize, length: usize, n_layers: usize) -> Results {
    let name = |i: usize| {
        let words = "a method with a name as long as people give them when they mean to be exact ";
        let text: String = words.chars().cycle().skip(7 * i).take(length).collect();
        format!("{text} {i}")
    };
    let sparse = |i: usize| {
        testing::row(&format!("row-{i}"), &name(i), &[0.8, 0.9, 0.95, 0.98, 0.99, 0.995])
    };
    let rows: Vec<SuiteRow> =
        std::iter::once(testing::row("dense", "Dense", &[])).chain((0..n).map(sparse)).collect();
    let layers: Vec<String> = (0..n_layers)
        .map(|i| format!("block{}.layers.{i}.depthwise.convolution.weight", i / 12))
        .collect();
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    testing::results_of(&rows, &layers)
}

#[test]
fn labels_are_readable_in_all_results_of_this_repository() {
    let folder = crate::testing::repository().join("results");
    let folders = std::fs::read_dir(folder).expect("lists").flatten().map(|entry| entry.path());
    let mut n_folders = 0;
    for folder in folders.filter(|folder| folder.join("runs.csv").is_file()) {
        let results = Results::load(&folder).expect("loads");
        assert_readable(&results, &folder.display().to_string(), &["schedule", "speed"]);
        n_folders += 1;
    }
    assert!(n_folders > 0);
}

#[test]
fn labels_are_readable_in_the_figures_of_results() {
    let results = crate::testing::repository().join("results");
    let list = |folder: std::path::PathBuf| {
        std::fs::read_dir(folder).expect("lists").flatten().map(|entry| entry.path())
    };
    let files: Vec<_> = list(results)
        .filter(|path| path.is_dir())
        .flat_map(list)
        .filter(|path| path.extension().is_some_and(|extension| extension == "svg"))
        .collect();
    assert!(!files.is_empty());
    let found: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let faults = faults(&std::fs::read_to_string(path).expect("reads"));
            let first = faults.first()?;
            Some(format!("{}: {}, such as {first}", path.display(), faults.len()))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn labels_are_readable_whatever_the_number_of_rows_and_layers_and_their_names() {
    for (n, length, n_layers) in
        [(1, 3, 1), (2, 90, 22), (6, 20, 45), (7, 40, 28), (30, 60, 45), (30, 200, 3)]
    {
        let name = format!("{n} rows, names of {length}, {n_layers} layers");
        let mut results = made_up(n, length, n_layers);
        let comparison = if n > 6 { "gain" } else { "accuracy" };
        assert_readable(&results, &name, &["layers", "speed", "curves", "schedule", comparison]);
        // Numbers of any size.
        for (i, run) in results.runs.iter_mut().enumerate() {
            run.test_accuracy *= [1.0, 1e-3, 0.5, 0.0][i % 4];
            run.step_seconds = run.step_seconds.map(|s| s * [1e3, 1.0, 1e-3][i % 3]);
        }
        assert_readable(&results, &name, &[]);
        results.runs.retain(|run| run.seed == 0);
        assert_readable(&results, &name, &[]);
    }
}

#[test]
fn labels_are_readable_in_the_study_of_significance() {
    let mut results = made_up(7, 20, 3);
    for run in &mut results.runs {
        // Rows 1 to 6 drop; row 0 is followed.
        let i: usize = run.row.trim_start_matches("row-").parse().unwrap_or(0);
        let rule = ["smallest", "longest", "random"][i % 3];
        run.drop = (i > 0).then(|| format!("{rule}:0.{}", 2 + i));
    }
    for (age, decile) in (0..14).flat_map(|age| (0..10).map(move |decile| (age, decile))) {
        results.fates.push(FateLine {
            row: "row-0".into(),
            cell: Some(0.995),
            seed: 0,
            step: 1000 * (age % 3),
            decile,
            age: 1 << age,
            n_pruned: 1000,
            n_back: 10 * decile,
            n_kept: decile,
        });
    }
    assert_readable(&results, "significance", &["significance"]);
}

#[test]
fn faults_are_found() {
    let svg = |labels: &str| format!("<svg viewBox='0 0 400 400'>{labels}</svg>");
    let label = |attributes: &str| {
        format!("<text font-size='48' fill='#111111' {attributes}>\nlabel\n</text>")
    };
    let found = |labels: &str| faults(&svg(labels));
    let (first, second) = (label("x='40' y='100'"), label("x='140' y='110'"));
    assert_eq!(found(&first), [""; 0]);
    assert!(found(&format!("{first}{second}"))[0].contains("is over"));
    let turned = label("x='20' y='330' transform='rotate(270, 20, 330)'");
    assert!(found(&turned)[0].contains("leaves"), "its letters are left of its baseline");
    let turned = label("x='60' y='180' transform='rotate(270, 60, 180)'");
    assert_eq!(found(&format!("{turned}{second}")), [""; 0]);
    assert!(found(&format!("{turned}{first}"))[0].contains("is over"));
    assert!(found(&label("x='40' y='100' text-anchor='end'"))[0].contains("leaves"));
    assert!(found(&label("x='360' y='100'"))[0].contains("leaves"));
    assert!(found(&first.replace("48", "40"))[0].contains("is small"));
    assert!(found(&first.replace("#111111", "#DDDDDD"))[0].contains("is not dark"));
    let group = |inner: &str| {
        format!("<g transform='scale(4)'><g transform='translate(5 50)'>{inner}</g></g>")
    };
    assert_eq!(
        found(&group(&first.replace("48", "12").replace("x='40' y='100'", "x='4'"))),
        [""; 0]
    );
    assert!(found(&group(&first))[0].contains("leaves"));
}
