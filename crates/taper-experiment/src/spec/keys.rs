//! Suggests names for unknown keys, and explains values of a wrong type.

use crate::error::usage;
use toml::{Table, Value};

/// Checks that every key of `table` is in `known`, a value with all keys.
///
/// A table may have any keys if its known value is not a table, such as the pins.
pub fn check(table: &Table, known: &serde_json::Value, section: &str) -> anyhow::Result<()> {
    let Some(known) = known.as_object() else { return Ok(()) };
    for (key, value) in table {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match known.get(key) {
            None => {
                // A key of a section, given without the section.
                if let Some((inner, _)) = known.iter().find(|(_, inner)| inner.get(key).is_some()) {
                    return Err(usage(format!(
                        "unknown key `{path}`; did you mean `{inner}.{key}`?"
                    )));
                }
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let hint = match nearest(key, &names) {
                    Some(name) if section.is_empty() => format!("did you mean `{name}`?"),
                    Some(name) => format!("did you mean `{section}.{name}`?"),
                    None => format!("the keys are {}", names.join(", ")),
                };
                return Err(usage(format!("unknown key `{path}`; {hint}")));
            }
            Some(known) => match value {
                Value::Table(inner) => check(inner, known, &path)?,
                _ if known.is_object() => {
                    return Err(usage(format!(
                        "`{path}` is a section, not a value; set its keys, with [{path}] in a file or {path}.KEY=VALUE"
                    )));
                }
                _ => {}
            },
        }
    }
    Ok(())
}

/// The name that is most similar to an unknown one, if one is similar.
pub(super) fn nearest<'n>(unknown: &str, names: &[&'n str]) -> Option<&'n str> {
    let similarity = |name: &&str| strsim::jaro_winkler(name, unknown);
    let nearest = names.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    nearest.filter(|name| similarity(name) > 0.7)
}

/// Explains a value of a wrong type from serde's reason: which values the key accepts.
pub(super) fn misfit(table: &Table, reason: &str) -> Option<String> {
    let (_, wanted) = reason.split_once("expected ")?;
    let (wanted, path) = wanted.split_once(" in `")?;
    let mut names = path.trim_end_matches('`').splitn(3, '.');
    let (section, key) = (names.next()?, names.next());
    let value = match (table.get(section)?, key) {
        (Value::Table(inner), Some(key)) => inner.get(key)?,
        (value, _) => value,
    };
    let key = key.map_or(section.to_owned(), |key| format!("{section}.{key}"));
    let wanted = match (&*key, wanted) {
        ("prune.pins", _) => "a table, such as { \"conv1.weight\" = 0.0 }",
        ("prune.points", _) => "a list of pairs, such as [[0.1, 0.5], [0.5, 0.9]]",
        (_, "u64") => "a whole number of at least 0",
        (_, "f64") => "a number",
        (_, "a string") => "text in quotes",
        (_, "a boolean") => "true or false",
        (_, "a sequence") => "a list, such as [0.5, 0.75]",
        (_, other) => other,
    };
    Some(format!("{key} is {value}; it must be {wanted}"))
}

/// Rejects NaN and infinite numbers: keys are merged as JSON, which cannot store them.
pub(super) fn finite(value: &Value, path: &str) -> anyhow::Result<()> {
    match value {
        Value::Float(number) if !number.is_finite() => {
            Err(usage(format!("{path} is {number}; give a finite number, or leave the key out")))
        }
        Value::Array(values) => values.iter().try_for_each(|value| finite(value, path)),
        Value::Table(inner) => inner.values().try_for_each(|value| finite(value, path)),
        _ => Ok(()),
    }
}
