//! Settings: single keys with their values, as on a command line.

use anyhow::Result;
use taper_host::Usage;
use toml::{Table, Value};

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Dotted key with at most one section, e.g. `train.lr`.
    pub key: String,
    /// Its value.
    pub value: Value,
}

impl Setting {
    /// A key with a value of any TOML type.
    pub fn new(key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }

    /// Parses `key=value`. A value that is not TOML is text: `train.lr=0.1`, `prune.schedule=cosine`.
    ///
    /// # Errors
    /// If there is no `=`, or the key has more than a section and a name.
    pub fn parse(text: &str) -> Result<Self> {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| Usage::new(format!("--set `{text}` is not of the form key=value")))?;
        let (key, value) = (key.trim(), value.trim());
        if key.split('.').count() > 2 {
            return Err(Usage::new(format!(
                "unknown key `{key}`; a key has a section and a name, such as train.lr"
            ))
            .into());
        }
        let parsed = format!("v = {value}").parse::<Table>().ok();
        let parsed =
            parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("v"));
        Ok(Self { key: key.into(), value: parsed.unwrap_or_else(|| Value::String(value.into())) })
    }
}

/// Sets the value of a dotted key.
///
/// # Errors
/// If a section of the key is a value.
pub fn put(table: &mut Table, key: &str, value: Value) -> Result<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
            Ok(())
        }
        Some((section, rest)) => {
            match table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                Value::Table(inner) => put(inner, rest, value),
                _ => Err(Usage::new(format!(
                    "`{section}` is a value, not a section, so it cannot contain `{rest}`"
                ))
                .into()),
            }
        }
    }
}

/// Whether a table has a dotted key.
pub fn has(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        None => table.contains_key(key),
        Some((section, key)) => {
            table.get(section).and_then(Value::as_table).is_some_and(|table| has(table, key))
        }
    }
}

/// The settings of a table as text: `train.epochs=2`. Keys have at most a section and a name, so deeper tables are
/// values.
pub fn settings(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                found.extend(section.iter().map(|(key, value)| format!("{name}.{key}={value}")));
            }
            value => found.push(format!("{name}={value}")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_toml_or_text() {
        let value = |text: &str| Setting::parse(text).expect("a setting").value;
        assert_eq!(value("train.lr=0.5"), Value::from(0.5));
        assert_eq!(value("prune.schedule=cosine"), Value::from("cosine"));
        assert_eq!(value("prune.method=\"ste\""), Value::from("ste"));
        assert_eq!(value("seed = 3"), Value::from(3));
        assert!(value("prune.pins={ \"conv1.weight\" = 0.0 }").is_table());
        assert!(Setting::parse("epochs").is_err() && Setting::parse("=3").is_err());
        assert!(Setting::parse("a.b.c=1").is_err());
    }

    #[test]
    fn settings_of_a_table_put_it_together_again() {
        let table: Table =
            "seed = 3\n[prune]\npins = { a = 0.5 }\nmethod = 'ste'\n".parse().expect("TOML");
        let mut again = Table::new();
        for text in settings(&table) {
            let Setting { key, value } = Setting::parse(&text).expect("a setting");
            put(&mut again, &key, value).expect("puts");
        }
        assert_eq!(again, table);
        assert!(has(&table, "prune.pins") && has(&table, "seed"));
        assert!(!has(&table, "prune.seed") && !has(&table, "seed.x"));
        assert!(put(&mut again, "seed.x", Value::from(1)).is_err());
    }
}
