//! The suite `methods`: compares whole training steps of pruning methods. Each runs in a separate process, in turn.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use taper_report::{format, stats::median};

use super::suite::{METHODS, MethodRow, Methods};
use super::table::{Table, judge};
use super::{Process, REST};

/// Settings of the measurement.
pub(crate) struct MethodSettings<'a> {
    pub(crate) root: &'a Path,
    /// CPU threads of each process.
    pub(crate) threads: u64,
    /// Timed steps of each kind.
    pub(crate) rounds: u64,
}

/// A method in its process, and the seconds of its steps.
struct Side<'a> {
    row: &'a MethodRow,
    process: Process,
    /// Interval of mask updates in steps; 1 if every step, or none, updates masks.
    every: f64,
    steps: Vec<f64>,
    /// Seconds of steps with a mask update, if `every` is above 1.
    refreshes: Vec<f64>,
}

/// Measures the chosen rows and the baseline.
///
/// # Errors
/// If a process cannot be started or fails.
pub(crate) fn table(
    settings: &MethodSettings,
    suite: &Methods,
    is_chosen: impl Fn(&MethodRow) -> bool,
) -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let weights = folder.path().join("weights.safetensors");
    let mut sides = Vec::new();
    for row in suite.rows.iter().filter(|row| is_chosen(row) || row.method == suite.baseline) {
        let mut process = Process::taper(settings.root)?;
        process.ask(&json!({
            "do": "weights", "model": suite.model, "sparsity": row.sparsity, "path": weights,
        }))?;
        let every = process.number(
            &json!({
                "do": "open", "model": suite.model, "threads": settings.threads, "batch": suite.batch,
                "sparsity": row.sparsity, "weights": weights, "method": row.method,
            }),
            "every",
        )?;
        ensure!(every >= 1.0, "{} updates masks every {every} steps, below 1", row.method);
        sides.push(Side { row, process, every, steps: Vec::new(), refreshes: Vec::new() });
    }
    // Two warm-up rounds, for caches and kernel choices.
    for round in 0..settings.rounds + 2 {
        for side in &mut sides {
            let mut time = |what: &str| {
                std::thread::sleep(REST);
                side.process.seconds(&json!({ "do": what })).with_context(|| side.row.name())
            };
            let step = time("step")?;
            let refresh = (side.every > 1.0).then(|| time("refresh")).transpose()?;
            if refresh.is_some() {
                // Not timed: new weights are still 0 in the first step and cost nothing.
                time("step")?;
            }
            if round >= 2 {
                side.steps.push(step);
                side.refreshes.extend(refresh);
            }
        }
    }
    assemble(suite, sides)
}

fn assemble(suite: &Methods, sides: Vec<Side>) -> Result<Table> {
    let columns = [
        "method",
        "sparsity",
        "multiplications",
        "images/s",
        "step, ms",
        "with new masks, ms",
        "one in",
        "ratio",
        "floor",
        "verdict",
    ];
    let mut table = Table { columns: columns.map(String::from).to_vec(), ..Table::default() };
    let mut measured = Vec::new();
    for side in sides {
        let Side { row, mut process, every, steps, refreshes } = side;
        // One more step: after it, no new weight is still 0.
        process.ask(&json!({ "do": "step" }))?;
        let share = process.number(&json!({ "do": "multiplications" }), "share")?;
        let memory = process.ask(&json!({ "do": "memory" }))?["bytes"].clone();
        let (step, refresh) = (median(steps), (every > 1.0).then(|| median(refreshes)));
        let seconds = in_proportion(step, refresh, every);
        measured.push((row, share, memory, [step, refresh.unwrap_or(step), seconds], every));
    }
    let baseline = measured.iter().find(|of| of.0.method == suite.baseline);
    let baseline = baseline.context("the baseline is no row of the suite")?.3[2];
    for (row, share, memory, [step, refresh, seconds], every) in &measured {
        let is_rare = *every > 1.0;
        let ratio = baseline / seconds;
        let verdict = judge(&format!("{METHODS}: {}", row.name()), ratio, row.floor);
        let or_nothing = |text: String| if is_rare { text } else { String::new() };
        table.rows.push(vec![
            row.label.clone(),
            format::percent_short(row.sparsity),
            format!("{:.1} %", 100.0 * share),
            format!("{:.0}", suite.batch as f64 / seconds),
            format!("{:.1}", step * 1e3),
            or_nothing(format!("{:.1}", refresh * 1e3)),
            or_nothing(format!("{every}")),
            format!("{ratio:.2}"),
            row.floor.map_or(String::new(), format::rounded),
            verdict.word().into(),
        ]);
        table.verdicts.push(verdict);
        // Some systems do not report it.
        if let Some(bytes) = Value::as_f64(memory) {
            table.notes.push(format!("Peak memory of {}: {}.", row.label, format::bytes(bytes)));
        }
    }
    Ok(table)
}

/// Mean seconds of a step if one of `every` steps updates masks.
fn in_proportion(step: f64, refresh: Option<f64>, every: f64) -> f64 {
    match refresh {
        Some(refresh) => (step * (every - 1.0) + refresh) / every,
        None => step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_with_mask_updates_count_in_proportion() {
        assert_eq!(in_proportion(2.0, Some(6.0), 4.0), 3.0);
        assert_eq!(in_proportion(2.0, Some(6.0), 1.0), 6.0);
        assert_eq!(in_proportion(2.0, None, 1.0), 2.0);
    }
}
