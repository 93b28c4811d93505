//! A suite: its file, `suite.toml`, and its rows.

mod data;
mod grid;
mod job;
mod pattern;

pub use data::ImageSource;
pub use job::{Job, Overrides};
pub use pattern::matches;

use crate::sparsity::same_sparsity;
use anyhow::{Context, Result, bail, ensure};
use grid::Grid;
use pattern::is_like;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use taper_compose::{has, merge, place};
use taper_host::Usage;
use toml::{Table, Value};

/// A suite: rows, each trained at some sparsities with some seeds. A suite that extends another also has the rows of
/// that suite, unless it lists rows itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Name of its folder.
    #[serde(skip)]
    pub name: String,
    /// Heading of the report.
    pub title: String,
    /// Sparsities of the rows without their own, each in [0, 1).
    sparsities: Vec<f64>,
    /// Number of seeds: 0, 1, ...
    pub seeds: u64,
    /// Name of the row with which the report compares the others; if left out, the first pruned row.
    pub baseline: Option<String>,
    /// Whether the report pools the standard deviation over the rows of a sparsity: for rows that vary equally, such as
    /// variants of one method.
    #[serde(default)]
    pub pooled_deviation: bool,
    /// Settings on top of every experiment.
    #[serde(default)]
    set: Table,
    /// Values for keys; rows are repeated with all combinations.
    #[serde(default)]
    grid: Grid,
    /// The rows in the order of the tables.
    #[serde(rename = "row")]
    rows: Vec<RowEntry>,
    /// Changes; rows are repeated with each of them.
    #[serde(default, rename = "variant")]
    variants: Vec<VariantEntry>,
    /// Folders with the experiments of the rows; the suite's own folder comes first.
    #[serde(skip)]
    folders: Vec<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowEntry {
    name: String,
    label: Option<String>,
    /// Stem of the experiment file, if it is not the name.
    experiment: Option<String>,
    /// Settings on top of the experiment.
    #[serde(default)]
    set: Table,
    /// Values for keys, instead of the grid of the suite.
    grid: Option<Grid>,
    sparsities: Option<Vec<f64>>,
}

/// A change; rows are repeated with it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantEntry {
    /// Suffix of the row's name.
    name: String,
    /// Suffix of the row's label.
    label: String,
    /// Patterns for the names of the rows to repeat.
    rows: Vec<String>,
    /// Settings on top of the row's settings.
    set: Table,
    /// The sparsities of the row at which it is repeated; all if left out.
    sparsities: Option<Vec<f64>>,
}

/// A resolved row of the matrix; manifests record it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteRow {
    /// Its name, unique in the suite.
    pub name: String,
    /// Its name in tables and figures.
    pub label: String,
    /// Empty for a row that is trained without a sparsity.
    pub sparsities: Vec<f64>,
}

impl SuiteRow {
    /// The sparsities of the row's cells; a row without sparsities has one cell, with `None`.
    pub fn targets(&self) -> Vec<Option<f64>> {
        if self.sparsities.is_empty() {
            vec![None]
        } else {
            self.sparsities.iter().copied().map(Some).collect()
        }
    }
}

/// Name of a suite's file.
pub(crate) const FILE: &str = "suite.toml";

/// The maximum of `--seeds`, too.
const MOST_SEEDS: u64 = 1000;
/// Maximum length of a row's name, which is part of file names.
const LONGEST_NAME: usize = 120;

/// Whether a folder contains a suite.
pub(crate) fn is_suite(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

impl Suite {
    /// Reads and checks the suite of a folder. The folder contains `suite.toml`, the experiments of the rows and,
    /// optionally, `bands.toml`.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn load(folder: &Path) -> Result<Self> {
        let folder = &std::path::absolute(folder)?;
        let path = folder.join(FILE);
        let usage = |error: anyhow::Error| Usage::new(format!("{error:#}"));
        let (table, files) = taper_compose::load(&path, "suite", |table, file| {
            place_paths(table, &std::path::absolute(file)?);
            Ok(())
        })?;
        let place = || format!("in {}", path.display());
        let mut suite: Self = table.try_into().with_context(place).map_err(usage)?;
        suite.name = name_of(folder)?;
        suite.folders = files.iter().filter_map(|file| Some(file.parent()?.to_owned())).collect();
        suite.check().with_context(place).map_err(usage)?;
        Ok(suite)
    }

    /// The folder of the suite.
    pub(crate) fn folder(&self) -> &Path {
        self.folders.first().map_or(Path::new(""), PathBuf::as_path)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            (1..=MOST_SEEDS).contains(&self.seeds),
            "seeds is {}; it must be at least 1, and at most {MOST_SEEDS}",
            self.seeds
        );
        ensure!(!self.rows.is_empty(), "the suite has no [[row]]");
        let tables =
            self.rows.iter().map(|row| &row.set).chain(self.variants.iter().map(|v| &v.set));
        for table in tables.chain([&self.set]) {
            ensure!(!has(table, "seed"), "set has `seed`, but seeds are set with `seeds`");
        }
        for grid in self.rows.iter().filter_map(|row| row.grid.as_ref()).chain([&self.grid]) {
            grid.check()?;
        }
        for (row, _, set) in self.entries() {
            ensure!(
                row.sparsities.is_empty() || !has(&set, "prune.sparsity"),
                "set of row '{}' has `prune.sparsity`, but sparsities are set with `sparsities`",
                row.name
            );
        }
        if let Some(key) = self.grid.is_set_by(&self.set) {
            bail!("set of the suite has `{key}`, but its grid sets it, too; remove one of them");
        }
        for row in &self.rows {
            if let Some(key) = self.grid_of(row).is_set_by(&row.set) {
                bail!(
                    "row '{}' sets `{key}`, but its grid sets it, too; give the row a grid without this key",
                    row.name
                );
            }
        }
        for variant in &self.variants {
            ensure!(!variant.rows.is_empty(), "variant '{}' has no rows", variant.name);
            for row in self.rows.iter().filter(|row| variant.is_for(row)) {
                if let Some(key) = self.grid_of(row).is_set_by(&variant.set) {
                    bail!(
                        "variant '{}' sets `{key}`, but the grid of row '{}' sets it, too",
                        variant.name,
                        row.name
                    );
                }
            }
            for pattern in &variant.rows {
                ensure!(
                    self.rows.iter().any(|row| is_like(pattern, &row.name)),
                    "no row matches '{pattern}' of variant '{}'",
                    variant.name
                );
            }
            for sparsity in variant.sparsities.iter().flatten() {
                let has = |row: &&RowEntry| {
                    self.sparsities_of(row).iter().any(|s| is_near(*s, *sparsity))
                };
                ensure!(
                    self.rows.iter().filter(|row| variant.is_for(row)).any(|row| has(&row)),
                    "variant '{}' has sparsity {sparsity}, which none of its rows has",
                    variant.name
                );
            }
        }
        let rows = self.rows();
        for (i, row) in rows.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            ensure!(
                row.name.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && row.name.chars().all(plain),
                "row name '{}' may contain only letters, digits, '-', '_' and '.', and must begin with a letter or a digit",
                row.name
            );
            ensure!(
                row.name.len() <= LONGEST_NAME,
                "row name '{}' has more than {LONGEST_NAME} characters; use fewer keys or shorter values in its grid",
                row.name
            );
            for (i, sparsity) in row.sparsities.iter().enumerate() {
                let is_twice = row.sparsities[..i].iter().any(|other| is_near(*other, *sparsity));
                ensure!(!is_twice, "row '{}' has sparsity {sparsity} twice", row.name);
            }
            ensure!(
                rows[..i].iter().all(|r| r.name != row.name),
                "row '{}' occurs twice",
                row.name
            );
        }
        if let Some(baseline) = &self.baseline {
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            ensure!(
                names.contains(&baseline.as_str()),
                "baseline is '{baseline}', which is not a row; the rows are {}",
                names.join(", ")
            );
        }
        for sparsity in
            self.rows.iter().filter_map(|r| r.sparsities.as_ref()).flatten().chain(&self.sparsities)
        {
            ensure!((0.0..1.0).contains(sparsity), "sparsity {sparsity} is outside [0, 1)");
        }
        Ok(())
    }

    /// The rows with their sparsities and labels, each followed by its variants.
    pub fn rows(&self) -> Vec<SuiteRow> {
        self.entries().into_iter().map(|(row, ..)| row).collect()
    }

    /// The rows, the entries that they come from, and their settings.
    fn entries(&self) -> Vec<(SuiteRow, &RowEntry, Table)> {
        let mut entries = Vec::new();
        for entry in &self.rows {
            let sparsities = self.sparsities_of(entry);
            let label = entry.label.as_ref().unwrap_or(&entry.name);
            for point in self.grid_of(entry).points() {
                let row = SuiteRow {
                    name: format!("{}{}", entry.name, point.name),
                    label: format!("{label}{}", point.label),
                    sparsities: sparsities.to_vec(),
                };
                let mut set = self.set.clone();
                merge(&mut set, entry.set.clone());
                merge(&mut set, point.set);
                entries.push((row.clone(), entry, set.clone()));
                for variant in self.variants.iter().filter(|variant| variant.is_for(entry)) {
                    let Some(repeated) = variant.of(&row) else { continue };
                    let mut set = set.clone();
                    merge(&mut set, variant.set.clone());
                    entries.push((repeated, entry, set));
                }
            }
        }
        entries
    }

    fn sparsities_of<'a>(&'a self, row: &'a RowEntry) -> &'a [f64] {
        row.sparsities.as_ref().unwrap_or(&self.sparsities)
    }

    fn grid_of<'a>(&'a self, row: &'a RowEntry) -> &'a Grid {
        row.grid.as_ref().unwrap_or(&self.grid)
    }

    /// Rejects settings of the command line that would replace a grid.
    fn check_over_grids(&self, over: &Table) -> Result<()> {
        for row in &self.rows {
            if let Some(key) = self.grid_of(row).is_set_by(over) {
                bail!(Usage::new(format!(
                    "--set {key} would replace the values of the grid of row '{}'; choose some with --only, or change the grid in suite.toml",
                    row.name
                )));
            }
        }
        Ok(())
    }

    /// The experiment file of a row: in the suite's own folder, or in the folder of a suite that it extends.
    fn experiment(&self, entry: &RowEntry) -> PathBuf {
        let file = format!("{}.toml", entry.experiment.as_ref().unwrap_or(&entry.name));
        let places: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(&file)).collect();
        let found = places.iter().find(|place| place.is_file()).or(places.first());
        found.cloned().unwrap_or_default()
    }
}

impl VariantEntry {
    fn is_for(&self, row: &RowEntry) -> bool {
        self.rows.iter().any(|pattern| is_like(pattern, &row.name))
    }

    /// A row with this change; `None` if they have no sparsity in common.
    fn of(&self, row: &SuiteRow) -> Option<SuiteRow> {
        let is_at = |sparsity: &f64| {
            let at = self.sparsities.as_ref();
            at.is_none_or(|at| at.iter().any(|other| is_near(*other, *sparsity)))
        };
        let repeated = SuiteRow {
            name: format!("{}-{}", row.name, self.name),
            label: format!("{}, {}", row.label, self.label),
            sparsities: row.sparsities.iter().copied().filter(is_at).collect(),
        };
        (!repeated.sparsities.is_empty() || row.sparsities.is_empty()).then_some(repeated)
    }
}

/// Whether two sparsities are those of one cell.
fn is_near(a: f64, b: f64) -> bool {
    same_sparsity(Some(a), Some(b))
}

/// The name of a suite's folder.
fn name_of(folder: &Path) -> Result<String> {
    let name = folder.components().rev().find_map(|part| match part {
        std::path::Component::Normal(name) => name.to_str(),
        _ => None,
    });
    match name {
        Some(name) => Ok(name.to_owned()),
        None => bail!(Usage::new(format!("{} has no name; give it one", folder.display()))),
    }
}

/// Makes the paths that a suite sets relative to its file, like the paths of an experiment.
fn place_paths(table: &mut Table, file: &Path) {
    for (key, value) in table {
        match (key.as_str(), value) {
            ("set", Value::Table(set)) => place(set, file.parent().unwrap_or(file)),
            ("grid", Value::Table(grid)) => Grid::place(grid, file.parent().unwrap_or(file)),
            ("row" | "variant", Value::Array(entries)) => {
                let entries = entries.iter_mut().filter_map(Value::as_table_mut);
                entries.for_each(|entry| place_paths(entry, file));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
