//! Numbers that may be missing: NaN in memory, empty in CSV, null in JSON.

use serde::{Deserialize, Deserializer, Serializer};

/// NaN, the value of missing fields.
pub(crate) fn nan() -> f64 {
    f64::NAN
}

/// Reads a number; NaN if it is missing.
pub(crate) fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Writes the shortest text that parses to the same number, without an exponent. NaN is an empty text.
pub(crate) fn text<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match value.is_nan() {
        true => serializer.serialize_str(""),
        false => serializer.collect_str(value),
    }
}
