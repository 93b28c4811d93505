//! The segments of a run: what computed its steps, from its start and from each time it went on.

use crate::error::usage;
use serde_json::{Value, json};

/// Version of `run.json`; 1 had what is now a segment at its top, of the last time alone.
pub const SCHEMA: u64 = 2;

/// The segments that `run.json` has, followed by one more.
///
/// # Errors
/// If the file is of a later version.
pub fn with(run: Option<&Value>, new: Value) -> anyhow::Result<Vec<Value>> {
    let mut segments = match run.map(|run| (run, run["schema"].as_u64())) {
        None => Vec::new(),
        Some((run, None | Some(1))) => vec![of_version_1(run)],
        Some((run, Some(SCHEMA))) => run["segments"].as_array().cloned().unwrap_or_default(),
        Some((_, Some(schema))) => {
            return Err(usage(format!(
                "run.json has schema {schema}, and this program knows up to {SCHEMA}; resume with the program that wrote it, or pass another --out"
            )));
        }
    };
    segments.push(new);
    Ok(segments)
}

/// The one segment that version 1 knew; whether its program was built from changed sources was not recorded.
fn of_version_1(run: &Value) -> Value {
    let old = &run["machine"];
    json!({
        "from_step": 0,
        "commit": run["commit"],
        "dirty": null,
        "versions": run["versions"],
        "machine": {
            "os": old["os"], "arch": old["arch"], "cpu": old["cpu"], "cores": old["cores"], "memory_bytes": null,
        },
        "device": old["device"],
        "threads": old["threads"],
        "kernels": old["kernels"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_added_to_those_that_are_there() {
        let first = with(None, json!({ "from_step": 0 })).unwrap();
        assert_eq!(first, [json!({ "from_step": 0 })]);
        let run = json!({ "schema": 2, "segments": first });
        let both = with(Some(&run), json!({ "from_step": 7 })).unwrap();
        assert_eq!(both, [json!({ "from_step": 0 }), json!({ "from_step": 7 })]);
    }

    #[test]
    fn version_1_becomes_a_segment_and_a_later_one_is_refused() {
        let old = json!({
            "schema": 1,
            "versions": { "taper": "0.1.0", "candle": "0.11" },
            "commit": "c0ffee",
            "machine": { "os": "linux", "arch": "x86_64", "cpu": "A", "cores": 4, "threads": 2, "kernels": "avx2", "device": "cpu" },
        });
        let segments = with(Some(&old), json!({ "from_step": 7 })).unwrap();
        assert_eq!(segments.len(), 2);
        let first = &segments[0];
        assert_eq!((&first["commit"], &first["threads"]), (&json!("c0ffee"), &json!(2)));
        assert_eq!((&first["machine"]["cores"], &first["device"]), (&json!(4), &json!("cpu")));
        assert_eq!(first["versions"]["candle"], "0.11");
        let later = with(Some(&json!({ "schema": 3 })), json!({})).unwrap_err().to_string();
        assert!(later.contains("schema 3") && later.contains("knows up to 2"), "{later}");
    }
}
