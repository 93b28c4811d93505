//! Grids: values for keys; rows are repeated with all combinations.

use anyhow::{Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use taper_compose::{has, place, put};
use toml::{Table, Value};

/// Keys, such as `train.lr`, and the values of each. In a file, keys are written with or without quotes: `"train.lr"`,
/// or `train.lr` as TOML tables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Grid(Table);

/// Maximum number of combinations.
const MOST_POINTS: usize = 1000;

/// One combination of values.
pub(super) struct Point {
    /// Suffix of a row's name: `-lr0.05`; empty for the only point of an empty grid.
    pub(super) name: String,
    /// Suffix of a row's label: `, lr 0.05`.
    pub(super) label: String,
    /// Settings on top of the row's settings.
    pub(super) set: Table,
}

impl Grid {
    /// Rejects values that are not lists, and keys that a suite sets elsewhere.
    pub(super) fn check(&self) -> Result<()> {
        let mut n_points = 1usize;
        let n_written: usize =
            self.0.values().map(|value| value.as_table().map_or(1, Table::len)).sum();
        ensure!(
            n_written == self.keys().len(),
            "grid has a key twice, with quotes and as a table; leave one out"
        );
        for (key, values) in self.keys() {
            let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
            ensure!(
                !values.is_empty(),
                "grid has no list of values for `{key}`, such as [0.05, 0.1]"
            );
            for (i, value) in values.iter().enumerate() {
                let is_twice = values[..i].iter().any(|other| is_same(other, value));
                ensure!(!is_twice, "grid has {value} twice for `{key}`; leave one out");
            }
            n_points = n_points.saturating_mul(values.len());
            ensure!(
                n_points <= MOST_POINTS,
                "grid has more than {MOST_POINTS} combinations; name fewer values"
            );
            let elsewhere = match key.as_str() {
                "seed" => "seeds are set with `seeds`",
                "prune.sparsity" => "sparsities are set with `sparsities`",
                _ => continue,
            };
            anyhow::bail!("grid has `{key}`, but {elsewhere}");
        }
        Ok(())
    }

    /// All combinations, the last key changing fastest.
    pub(super) fn points(&self) -> Vec<Point> {
        let keys = self.keys();
        let mut points =
            vec![Point { name: String::new(), label: String::new(), set: Table::new() }];
        for (key, values) in &keys {
            // The last part of the key, unless two keys share it.
            let word = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
            let is_alone = keys.keys().filter(|other| word(other) == word(key)).count() == 1;
            let shown = if is_alone { word(key) } else { key.replace('.', "-") };
            let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
            let with = |point: &Point, value: &Value| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let mut set = point.set.clone();
                // A key has at most one section, and sections of a grid are tables.
                let _ = put(&mut set, key, value.clone());
                Point {
                    name: format!("{}-{shown}{}", point.name, plain(&text)),
                    label: format!("{}, {} {text}", point.label, shown.replace('_', " ")),
                    set,
                }
            };
            points = points.iter().flat_map(|p| values.iter().map(move |v| with(p, v))).collect();
        }
        points
    }

    /// The first key of the grid that a table sets as well.
    pub(super) fn is_set_by(&self, table: &Table) -> Option<String> {
        self.keys().into_keys().find(|key| has(table, key))
    }

    /// Makes the paths among its values relative to a folder.
    pub(super) fn place(grid: &mut Table, folder: &Path) {
        for key in ["data", "from"] {
            let values = grid.get_mut(key).and_then(Value::as_array_mut);
            for value in values.into_iter().flatten() {
                let mut alone = Table::from_iter([(key.to_owned(), value.clone())]);
                place(&mut alone, folder);
                *value = alone.remove(key).unwrap_or_else(|| value.clone());
            }
        }
    }

    /// The keys by their dotted names.
    fn keys(&self) -> BTreeMap<String, &Value> {
        let mut keys = BTreeMap::new();
        for (name, value) in &self.0 {
            match value {
                Value::Table(section) => {
                    keys.extend(
                        section.iter().map(|(key, value)| (format!("{name}.{key}"), value)),
                    );
                }
                value => drop(keys.insert(name.clone(), value)),
            }
        }
        keys
    }
}

/// Whether two values are equal, however they are written.
fn is_same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    a == b || number(a).is_some_and(|a| number(b) == Some(a))
}

/// A value as part of a name.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(text: &str) -> Grid {
        toml::from_str(text).expect("a grid")
    }

    #[test]
    fn all_combinations_are_points_with_names_of_their_own() {
        let grid = grid("'prune.schedule' = ['cubic', 'power:2']\n[train]\nlr = [0.05, 0.1]\n");
        let points = grid.points();
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "-schedulecubic-lr0.05",
                "-schedulecubic-lr0.1",
                "-schedulepower_2-lr0.05",
                "-schedulepower_2-lr0.1"
            ]
        );
        assert_eq!(points[3].label, ", schedule power:2, lr 0.1");
        assert!(has(&points[3].set, "prune.schedule") && has(&points[3].set, "train.lr"));
        assert_eq!(Grid::default().points().len(), 1);
    }

    #[test]
    fn keys_of_one_word_are_told_apart_by_their_sections() {
        let points = grid("'train.schedule' = ['cosine']\n'prune.schedule' = ['cubic']\n").points();
        assert_eq!(points[0].name, "-prune-schedulecubic-train-schedulecosine");
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        let refused = |text: &str| grid(text).check().expect_err("refused").to_string();
        assert!(refused("train.lr = 0.1").contains("no list of values for `train.lr`"));
        assert!(refused("train.lr = []").contains("no list of values"));
        assert!(refused("train.lr = [1, 1.0]").contains("1.0 twice for `train.lr`"));
        let many = |key: &str| format!("{key} = {:?}\n", (0..40).collect::<Vec<_>>());
        assert!(refused(&(many("train.a") + &many("train.b"))).contains("more than 1000"));
        assert!(refused("seed = [1, 2]").contains("set with `seeds`"));
        assert!(refused("prune.sparsity = [0.5]").contains("set with `sparsities`"));
    }
}
