//! Grids: values of keys, with all combinations of which rows are repeated.

use anyhow::{Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use taper_compose::put;
use toml::{Table, Value};

/// Keys, such as `train.lr`, and the values of each. In a file they are written with or without quotes: `"train.lr"`, or
/// `train.lr` as TOML's own tables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Grid(Table);

/// One combination of values.
pub(super) struct Point {
    /// Goes behind the name of a row: `-lr0.05`; empty for the one point of an empty grid.
    pub(super) name: String,
    /// Goes behind the label of a row: `, lr 0.05`.
    pub(super) label: String,
    /// Settings on top of those of the row.
    pub(super) set: Table,
}

impl Grid {
    /// Refuses what is no list of values, and keys that a suite has elsewhere.
    pub(super) fn check(&self) -> Result<()> {
        for (key, values) in self.keys() {
            let n = values.as_array().map_or(0, Vec::len);
            ensure!(n > 0, "grid has no list of values for `{key}`, such as [0.05, 0.1]");
            let elsewhere = match key.as_str() {
                "seed" => "the seeds are those of `seeds`",
                "prune.sparsity" => "the sparsities are those of `sparsities`",
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
            // The last word, unless two keys share it.
            let word = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
            let is_alone = keys.keys().filter(|other| word(other) == word(key)).count() == 1;
            let shown = if is_alone { word(key) } else { key.replace('.', "-") };
            let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
            let with = |point: &Point, value: &Value| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let mut set = point.set.clone();
                // A key has a section at most, and sections of a grid are tables.
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

/// A value as part of a name.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_compose::has;

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
        assert!(refused("seed = [1, 2]").contains("those of `seeds`"));
        assert!(refused("prune.sparsity = [0.5]").contains("those of `sparsities`"));
    }
}
