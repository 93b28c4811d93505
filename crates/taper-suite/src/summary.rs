//! The table of results as Markdown for `summary.md` and as text for the console, with the same columns.

use crate::cells::{self, Cell, Verdict, cells, shown};
use crate::gain::{self, Compared, Gain};
use crate::results::{Results, RunLine};
use crate::suite::SuiteRow;
use taper_record::Machine;
use taper_report::format::{self, NOTHING};

/// Column titles of the table, in all three documents.
pub(crate) const COLUMNS: [&str; 13] = [
    "Method",
    "Sparsity target",
    "Test accuracy",
    "Gain",
    "Achieved",
    "Effective",
    "Dead filters",
    "Parameters kept",
    "MACs",
    "Bytes",
    "Seeds",
    "Time per run",
    "Verdict",
];

/// Index of the column that counts the seeds.
pub(crate) const SEEDS: usize = 10;

/// The texts of a cell's line, one for each column.
pub(crate) fn line(Compared { cell, gain, .. }: &Compared) -> [String; COLUMNS.len()] {
    let mean =
        |number: &dyn Fn(&RunLine) -> Option<f64>| cell.summary(number).map(|summary| summary.mean);
    let text = |value: Option<f64>, format: &dyn Fn(f64) -> String| {
        value.map_or_else(|| NOTHING.to_owned(), format)
    };
    let percent = |fraction| format::percent(fraction, 2);
    [
        cell.row.label.clone(),
        text(cell.target, &format::percent_short),
        cell.accuracy().map_or_else(|| NOTHING.to_owned(), |summary| format::accuracy(&summary)),
        match gain {
            Gain::Baseline => "baseline".to_owned(),
            Gain::Over(difference) => format::gain(difference),
            Gain::Unknown => NOTHING.to_owned(),
        },
        text(mean(&|run| Some(run.sparsity)), &percent),
        text(mean(&|run| run.effective_sparsity), &percent),
        dead_filters(cell),
        text(mean(&|run| Some(params_kept(run))), &format::count),
        text(mean(&|run| Some(run.macs_sparse as f64)), &format::scaled),
        text(mean(&|run| Some(run.bytes_file as f64)), &format::bytes),
        cell.runs.len().to_string(),
        text(mean(&|run| Some(run.seconds)), &format::seconds),
        cell.verdict.word().to_owned(),
    ]
}

/// Number of dead filters, followed by their fraction of the gradient norm, if they have one.
fn dead_filters(cell: &Cell) -> String {
    let mean = |number: &dyn Fn(&RunLine) -> Option<f64>| cell.summary(number).map(|s| s.mean);
    let share = mean(&|run| run.dead_grad_share).filter(|share| *share > 0.0);
    match (mean(&|run| run.n_dead_filters.map(|n| n as f64)), share) {
        (None, _) => NOTHING.to_owned(),
        (Some(n), None) => format::count(n),
        (Some(n), Some(share)) => format!("{} ({})", format::count(n), format::percent(share, 0)),
    }
}

/// Remaining parameters: those that are never pruned, and the kept ones.
fn params_kept(run: &RunLine) -> f64 {
    (run.n_params.saturating_sub(run.n_prunable) + run.n_kept) as f64
}

/// The verdict on all cells, as a sentence.
pub(crate) fn verdict(results: &Results) -> String {
    let verdicts: Vec<Verdict> = cells(results).into_iter().map(|cell| cell.verdict).collect();
    sentence(&verdicts, cells::passed(results))
}

/// Summarises verdicts in a sentence. Something else can have failed as well, such as a run of a removed cell.
pub fn sentence(verdicts: &[Verdict], has_passed: bool) -> String {
    let count = |want: &dyn Fn(&Verdict) -> bool| verdicts.iter().filter(|v| want(v)).count();
    let mut parts = Vec::new();
    for (n, what) in [
        (count(&|v| matches!(v, Verdict::Fail(_))), "failed"),
        (count(&|v| *v == Verdict::Pass), "passed"),
        (count(&|v| *v == Verdict::Incomplete), "incomplete"),
        (count(&|v| *v == Verdict::NoBand), "without a band"),
        (count(&|v| *v == Verdict::NotRun), "not run"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    let word = match verdicts.iter().any(Verdict::is_judged) {
        _ if !has_passed => "Fail",
        true => "Pass",
        false => "Not judged",
    };
    if verdicts.is_empty() {
        return format!("{word}: there is nothing to compare");
    }
    let results = if verdicts.len() == 1 { "result" } else { "results" };
    format!("{word}: of {} {results}, {}", verdicts.len(), parts.join(", "))
}

/// What the columns of the table mean.
pub(crate) fn legend(results: &Results) -> String {
    let mut text = "Accuracy is measured after the last epoch, at the final sparsity: mean ± standard deviation over the seeds. \
                    Sparsity counts prunable weights; biases and batch norm are never pruned, but are part of the parameters kept. \
                    Effective sparsity also counts weights without a connection to input or output. \
                    Dead filters are output channels of convolutions that have lost every weight"
        .to_owned();
    if results.runs.iter().any(|run| run.dead_grad_share.is_some_and(|share| share > 0.0)) {
        text += "; in brackets, their fraction of the gradient norm in the last epoch";
    }
    text += ". MACs are multiplications with a kept weight for one image. Bytes are the size of the pruned checkpoint, which \
             stores zeros; exported sparse files are smaller.";
    if cells(results).iter().any(|cell| cell.verdict.is_judged()) {
        text += " A result passes if its mean accuracy is within the band that the suite expects.";
    }
    text
}

/// Notes that readers need in addition to the table.
pub(crate) fn notes(results: &Results) -> Vec<String> {
    let (manifest, n_runs) = (&results.manifest, results.runs.len());
    let mut notes = Vec::new();
    if manifest.made.dirty {
        notes.push("The work tree differed from the commit.".to_owned());
    }
    let here = &manifest.made.commit;
    let other = |run: &&RunLine| here.is_some() && run.commit.is_some() && run.commit != *here;
    let n_other = results.runs.iter().filter(other).count();
    if n_other > 0 {
        notes
            .push(format!("{n_other} of {n_runs} runs were made at another commit; see runs.csv."));
    }
    let n_dirty = results.runs.iter().filter(|run| run.dirty == Some(true)).count();
    if n_dirty > 0 {
        notes.push(format!(
            "{n_dirty} of {n_runs} runs were made by a program that was built from a work tree with changes."
        ));
    }
    let elsewhere = manifest.machines.iter().filter(|on| on.machine != manifest.made.machine);
    notes.extend(elsewhere.map(|on| {
        format!("{} of {n_runs} runs were made on {}.", on.runs.len(), machine(&on.machine))
    }));
    notes.extend(manifest.taken.iter().map(|origin| {
        format!(
            "{} of {n_runs} runs, with their times, are from the results that “{}” wrote on {} ({}{}).",
            origin.runs.len(),
            origin.made.command,
            origin.made.date.get(..10).unwrap_or(&origin.made.date),
            machine(&origin.made.machine),
            if origin.made.dirty { ", a work tree with changes" } else { "" },
        )
    }));
    notes
}

/// `summary.md`.
pub(crate) fn markdown(results: &Results) -> String {
    let manifest = &results.manifest;
    let mut out = format!("# {}\n\n**{}.**\n\n", escaped(&manifest.title), verdict(results));
    let row = |texts: &[String]| format!("| {} |\n", texts.join(" | "));
    out += &row(&COLUMNS.map(str::to_owned));
    out += &row(&std::array::from_fn::<_, { COLUMNS.len() }, _>(|i| {
        if is_text(i) { "---" } else { "---:" }.to_owned()
    }));
    let ranked = gain::ranked(results);
    for compared in &ranked {
        out += &row(&line(compared).map(|text| escaped(&text)));
    }
    out += &format!("\n{}\n", legend(results));
    if let Some(note) = gain::note(&ranked) {
        out += &format!("\n{}\n", escaped(&note));
    }
    for Compared { cell, .. } in &ranked {
        for reason in cell.verdict.reasons() {
            out += &format!("\n- **{}**: {}", escaped(&cell.name()), escaped(reason));
        }
    }
    for run in &manifest.failed {
        out += &format!("\n- **{}** failed: {}\n", run.key, escaped(&run.reason));
        for line in &run.log {
            out += &format!("\n      {line}");
        }
    }
    for note in notes(results) {
        out += &format!("\n- {note}");
    }
    out += "\n\n## Made by\n\n";
    for (name, value) in provenance(results) {
        out += &format!("- {name}: {}\n", escaped(&value));
    }
    out
}

/// The second line of the heading: suite, day, commit and machine in brief.
pub(crate) fn byline(results: &Results) -> String {
    let manifest = &results.manifest;
    let mut parts = vec![format!("suite {}", manifest.suite)];
    parts.push(manifest.made.date.get(..10).unwrap_or(&manifest.made.date).to_owned());
    parts.extend(
        manifest
            .made
            .commit
            .as_ref()
            .map(|commit| format!("commit {}", commit.get(..12).unwrap_or(commit))),
    );
    parts.extend(manifest.made.machine.cpu.clone());
    parts.extend(manifest.made.machine.cores.map(|n| format!("{n} cores")));
    parts.join(" · ")
}

/// A machine in a line.
fn machine(machine: &Machine) -> String {
    let mut parts = vec![machine.cpu.clone().unwrap_or_else(|| "unknown CPU".to_owned())];
    parts.extend(machine.gpu.clone());
    parts.extend(machine.cores.map(|n| format!("{n} cores")));
    parts.extend(machine.memory_bytes.map(|n| format!("{} memory", format::bytes(n as f64))));
    parts.push(format!("{} ({})", machine.os, machine.arch));
    parts.join(", ")
}

/// Suite, commit, command, machine and versions, as pairs for a list.
pub(crate) fn provenance(results: &Results) -> Vec<(&'static str, String)> {
    let manifest = &results.manifest;
    let dirty = if manifest.made.dirty { ", with changes" } else { "" };
    let version = |name: &str, version: &Option<String>| {
        version
            .as_ref()
            .map(|v| if v.starts_with(name) { v.clone() } else { format!("{name} {v}") })
    };
    let versions = &manifest.made.versions;
    let versions =
        [("taper", &versions.taper), ("candle", &versions.candle), ("rustc", &versions.rustc)];
    let versions: Vec<String> = versions.iter().filter_map(|(name, v)| version(name, v)).collect();
    vec![
        ("Suite", manifest.suite.clone()),
        ("Date", manifest.made.date.clone()),
        (
            "Commit",
            manifest
                .made
                .commit
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |c| format!("{c}{dirty}")),
        ),
        ("Command", manifest.made.command.clone()),
        ("Machine", machine(&manifest.made.machine)),
        ("Versions", versions.join(", ")),
    ]
}

/// The table, the failures and the verdict, as plain text.
pub fn console(results: &Results) -> String {
    let ranked = gain::ranked(results);
    let mut table = vec![COLUMNS.map(str::to_owned)];
    table.extend(ranked.iter().map(line));
    let width = |i: usize| table.iter().map(|texts| texts[i].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let mut out = String::new();
    for texts in &table {
        let mut text = String::new();
        for (i, (cell, width)) in texts.iter().zip(widths).enumerate() {
            text +=
                &if is_text(i) { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
        }
        out += text.trim_end();
        out.push('\n');
    }
    out += &format!("\n{}\n", legend(results));
    for Compared { cell, .. } in &ranked {
        for reason in cell.verdict.reasons() {
            out += &format!("\nfail: {}: {reason}", cell.name());
        }
    }
    for run in &results.manifest.failed {
        out += &format!("\nfailed run {}: {}", run.key, run.reason);
        for line in &run.log {
            out += &format!("\n    {line}");
        }
    }
    for note in notes(results) {
        out += &format!("\nnote: {note}");
    }
    out += &format!("\n{}\n", verdict(results));
    out
}

/// Test accuracy by row and sparsity, of the cells that have been run, as Markdown.
pub fn accuracies(results: &Results) -> String {
    let cells = shown(results);
    let mut targets: Vec<Option<f64>> = cells.iter().map(|cell| cell.target).collect();
    // Cells without a target come before those of sparsity 0, or equal columns would not be adjacent.
    targets.sort_by(|a, b| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0)));
    targets.dedup();
    // Patterns and learned thresholds have no target, but are not dense.
    let untargeted = cells.iter().filter(|cell| cell.target.is_none());
    let none = match untargeted.flat_map(|cell| &cell.runs).all(|run| run.sparsity == 0.0) {
        true => "dense",
        false => "no target",
    };
    let heads = targets.iter().map(|t| t.map_or(none.into(), format::percent_short));
    let mut out = format!("| method | {} |\n", heads.collect::<Vec<_>>().join(" | "));
    out += &format!("| --- |{}\n", " ---: |".repeat(targets.len()));
    let is_shown = |row: &&SuiteRow| cells.iter().any(|cell| cell.row.name == row.name);
    for row in results.manifest.rows.iter().filter(is_shown) {
        let texts = targets.iter().map(|target| {
            let cell = cells.iter().find(|c| c.row.name == row.name && c.target == *target);
            let accuracy = cell.and_then(|cell| cell.accuracy());
            accuracy.map_or_else(|| NOTHING.to_owned(), |summary| format::accuracy(&summary))
        });
        out += &format!("| {} | {} |\n", row.label, texts.collect::<Vec<_>>().join(" | "));
    }
    out
}

/// Whether a column contains text, which is left-aligned, instead of numbers.
pub(crate) fn is_text(column: usize) -> bool {
    column == 0 || column + 1 == COLUMNS.len()
}

/// Escapes text for Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '|' | '*' | '_' | '<' | '>' | '`' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn verdicts_make_a_sentence() {
        let fail = || Verdict::Fail(vec!["slow".into()]);
        assert_eq!(
            sentence(&[Verdict::Pass, fail(), Verdict::NoBand, Verdict::NotRun], false),
            "Fail: of 4 results, 1 failed, 1 passed, 1 without a band, 1 not run"
        );
        assert_eq!(sentence(&[Verdict::Pass], true), "Pass: of 1 result, 1 passed");
        assert_eq!(sentence(&[Verdict::NoBand], true), "Not judged: of 1 result, 1 without a band");
    }

    #[test]
    fn a_line_shows_what_was_measured() {
        let results = testing::results();
        let ranked = gain::ranked(&results);
        assert_eq!(
            line(&ranked[1]).join("|"),
            "Feather|90 %|89.10 ± 0.10 %|+0.50 ± 0.23|90.00 %|90.10 %|7 (25 %)|1,100|100 k|5.13 KiB|3|7.2 s|pass"
        );
        assert_eq!(line(&ranked[2])[3], "baseline");
        let dense = line(&ranked[0]);
        assert_eq!(dense[1], NOTHING, "dense has no target, and none is printed");
        assert_eq!(dense[3], NOTHING, "nor a gain over what is pruned");
        assert_eq!(dense[5], NOTHING, "not measured, so not printed");
    }

    #[test]
    fn markdown_has_a_line_for_each_cell_and_escapes_what_it_must() {
        let mut results = testing::results();
        results.manifest.failed.push(testing::failed_run());
        let text = markdown(&results);
        let lines = text.lines().filter(|line| line.starts_with('|')).count();
        assert_eq!(lines, 2 + 1 + 2 * 2);
        assert!(text.contains(r"| GMP \<&\> | 90 % |"), "{text}");
        assert!(text.contains(r"gain over GMP \<&\>"), "{text}");
        assert!(
            text.contains("**Fail: of 5 results, 1 failed, 1 passed, 3 without a band.**"),
            "{text}"
        );
        assert!(text.contains("loss is not finite at step 7"), "{text}");
    }

    #[test]
    fn runs_of_another_commit_are_reported() {
        let mut results = testing::results();
        assert_eq!(notes(&results), Vec::<String>::new());
        results.runs[0].commit = Some("f".repeat(40));
        results.manifest.made.dirty = true;
        let notes = notes(&results);
        assert!(notes[0].contains("work tree") && notes[1].contains("1 of 15 runs"), "{notes:?}");
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn runs_of_another_machine_or_of_a_changed_program_are_named() {
        let mut results = testing::results();
        let here = results.manifest.made.machine.clone();
        let key = results.runs[0].key.clone();
        results.made_on(&here, &key);
        assert_eq!(notes(&results), Vec::<String>::new());
        results.made_on(&Machine { gpu: Some("Example GPU".into()), ..here }, &key);
        results.runs[0].dirty = Some(true);
        let notes = notes(&results);
        assert!(notes[0].contains("1 of 15 runs were made by a program"), "{notes:?}");
        let line = "1 of 15 runs were made on Example CPU, Example GPU, 2 cores, 8.00 GiB memory";
        assert!(notes[1].starts_with(line), "{notes:?}");
    }

    #[test]
    fn accuracies_have_a_column_for_each_sparsity_that_was_run() {
        let table = accuracies(&testing::results());
        assert!(table.starts_with("| method | dense | 90 % | 95 % |\n"), "{table}");
        assert!(table.contains("\n| Dense | 88.10 ± 0.10 % | – | – |\n"), "{table}");
        let mut learned = testing::results();
        let without = learned.runs.iter_mut().filter(|run| run.sparsity_target.is_none());
        without.for_each(|run| run.sparsity = 0.5);
        assert!(accuracies(&learned).starts_with("| method | no target | 90 % | 95 % |\n"));
        let rows = [
            testing::row("dense", "Dense", &[]),
            testing::row("gmp", "GMP", &[0.0, 0.9]),
            testing::row("str", "STR", &[]),
        ];
        let zero = accuracies(&testing::results_of(&rows, &["fc"]));
        assert_eq!(zero.lines().next(), Some("| method | dense | 0 % | 90 % |"));
        let mut part = testing::results();
        part.runs.retain(|run| run.sparsity_target == Some(0.9) && run.row == "feather");
        let only = "| method | 90 % |\n| --- | ---: |\n| Feather | 89.10 ± 0.10 % |\n";
        assert_eq!(accuracies(&part), only);
    }

    #[test]
    fn the_console_table_is_aligned() {
        let text = console(&testing::results());
        let table: Vec<&str> = text.lines().take(6).collect();
        let place = |line: &str| line.chars().take_while(|c| *c != '%').count();
        assert_eq!(place(table[2]), place(table[3]), "{text}");
        assert!(text.ends_with("Pass: of 5 results, 1 passed, 4 without a band\n"), "{text}");
    }
}
