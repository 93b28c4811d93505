//! `run.json`: the recipe and the data of a run, and the programs and machines that computed it.

use crate::{Machine, RecordError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use taper_core::hash::fnv1a;

/// Version of `run.json`. In version 1, the fields of a segment were at the top level, and only for the last program.
pub const SCHEMA: u64 = 2;

/// `run.json`: the recipe and the data of a run, and the programs and machines that computed it. It is written before
/// any other file of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Version of the file.
    pub schema: u64,
    /// The resolved experiment, with a value for each key.
    pub recipe: Value,
    /// [`hash`] of the recipe.
    pub recipe_hash: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of steps of the run; 0 if unknown.
    pub steps: u64,
    /// Number of steps per epoch; 0 if unknown.
    pub steps_per_epoch: u64,
    /// The images.
    pub data: DataRecord,
    /// The program and machine of each part of the run. The start and each resume begin a new part.
    pub segments: Vec<Segment>,
}

/// The images of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataRecord {
    /// Name of the data set.
    pub name: String,
    /// Hash of the content.
    pub fingerprint: String,
    /// Number of training images, without held-out images.
    pub n_train: usize,
    /// Number of test images.
    pub n_test: usize,
    /// Number of classes.
    pub classes: usize,
    /// The source of the images.
    pub source: String,
    /// Commit of the files from the hub.
    pub commit: Option<String>,
    /// SHA-256 of each file from the hub.
    pub sha256: BTreeMap<String, String>,
}

/// The program and the machine that computed a part of the run, and their settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// The first step of the part.
    pub from_step: u64,
    /// Commit of the program, if it was built in a git work tree.
    pub commit: Option<String>,
    /// Whether that work tree differed from the commit, if known.
    pub dirty: Option<bool>,
    /// Versions of the program and of candle.
    pub versions: Versions,
    /// The machine.
    pub machine: Machine,
    /// `cpu`, `cuda:N` or `metal`.
    pub device: String,
    /// CPU threads of each rank.
    pub threads: usize,
    /// Number of ranks (processes that train together), if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
    /// Instruction set of the CPU kernels.
    pub kernels: String,
    /// How dense or sparse kernels were chosen, if known.
    pub choice: Option<String>,
}

/// Versions of the program and of candle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// Version of Taper.
    pub taper: Option<String>,
    /// Version of candle.
    pub candle: Option<String>,
}

impl RunRecord {
    /// Parses the text of `run.json`. `path` is only used in error messages.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if the text is invalid, [`RecordError::Later`] if it is from a later version.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RecordError> {
        let malformed = || RecordError::malformed(path);
        let mut value: Value = serde_json::from_str(text).map_err(malformed())?;
        match value["schema"].as_u64() {
            None | Some(1) => {
                let first = of_version_1(&value);
                if let Some(run) = value.as_object_mut() {
                    run.insert("segments".into(), Value::Array(vec![first]));
                }
            }
            Some(schema) if schema > SCHEMA => {
                return Err(RecordError::Later { path: path.into(), schema, known: SCHEMA });
            }
            Some(_) => {}
        }
        serde_json::from_value(value).map_err(malformed())
    }

    /// The number of epochs of the run. It is computed from the steps if they are known, because `train.max_steps` may
    /// end the run earlier.
    pub fn epochs(&self) -> f64 {
        match (self.steps, self.steps_per_epoch) {
            (steps @ 1.., per_epoch @ 1..) => steps as f64 / per_epoch as f64,
            _ => self.recipe["train"]["epochs"].as_f64().unwrap_or(0.0),
        }
    }

    /// The commits of all programs of the run, each once, separated by spaces; `None` if one of them is unknown.
    pub fn commits(&self) -> Option<String> {
        let mut commits: Vec<&str> = Vec::new();
        for segment in &self.segments {
            let commit = segment.commit.as_deref()?;
            if !commits.contains(&commit) {
                commits.push(commit);
            }
        }
        Some(commits.join(" "))
    }

    /// Whether a part of the run used a program with uncommitted changes; `None` if unknown.
    pub fn is_dirty(&self) -> Option<bool> {
        let dirty = self.segments.iter().map(|segment| segment.dirty);
        match dirty.clone().any(|dirty| dirty == Some(true)) {
            true => Some(true),
            false => dirty.collect::<Option<Vec<_>>>().map(|_| false),
        }
    }

    /// A text value of the recipe, by a JSON pointer such as `/prune/adapt`.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.recipe.pointer(pointer).and_then(Value::as_str)
    }
}

/// The hash of a recipe, as 16 hexadecimal digits.
pub fn hash(recipe: &Value) -> String {
    format!("{:016x}", fnv1a(recipe.to_string().as_bytes()))
}

/// The only segment of a record of version 1. Some of these records lack `dirty`.
fn of_version_1(run: &Value) -> Value {
    let old = &run["machine"];
    let mut segment = serde_json::Map::new();
    let mut put = |key: &str, value: &Value| {
        if !value.is_null() {
            segment.insert(key.into(), value.clone());
        }
    };
    put("commit", &run["commit"]);
    put("dirty", &run["dirty"]);
    put("versions", &run["versions"]);
    put("machine", old);
    for key in ["device", "threads", "kernels"] {
        put(key, &old[key]);
    }
    Value::Object(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Result<RunRecord, RecordError> {
        RunRecord::parse(&value.to_string(), Path::new("runs/x/run.json"))
    }

    #[test]
    fn a_record_is_read_as_written() {
        let segment = Segment {
            from_step: 7,
            commit: Some("c0ffee".into()),
            dirty: Some(false),
            machine: Machine { gpu: Some("G".into()), ..Machine::default() },
            ..Segment::default()
        };
        let run = RunRecord {
            schema: SCHEMA,
            recipe: json!({ "prune": { "adapt": "none" } }),
            steps: 391,
            steps_per_epoch: 782,
            segments: vec![segment],
            ..RunRecord::default()
        };
        let again = parse(&serde_json::to_value(&run).unwrap()).unwrap();
        assert_eq!(again, run);
        assert_eq!((run.epochs(), run.text("/prune/adapt")), (0.5, Some("none")));
        assert_eq!(
            parse(&json!({ "recipe": { "train": { "epochs": 3 } } })).unwrap().epochs(),
            3.0
        );
    }

    #[test]
    fn version_1_has_one_segment_and_a_later_version_is_an_error() {
        let old = json!({
            "schema": 1,
            "recipe": {},
            "versions": { "taper": "0.1.0", "candle": "0.11" },
            "commit": "c0ffee",
            "machine": { "os": "linux", "arch": "x86_64", "cpu": "A", "cores": 4, "threads": 2, "kernels": "avx2", "device": "cpu" },
        });
        let run = parse(&old).unwrap();
        let [segment] = &run.segments[..] else { panic!("{run:?}") };
        assert_eq!((segment.commit.as_deref(), segment.threads), (Some("c0ffee"), 2));
        assert_eq!((segment.machine.cores, &*segment.device), (Some(4), "cpu"));
        assert_eq!((segment.versions.candle.as_deref(), segment.dirty), (Some("0.11"), None));
        let later = parse(&json!({ "schema": 3 })).unwrap_err().to_string();
        assert!(later.contains("schema 3") && later.contains("up to 2"), "{later}");
        let none = RunRecord::parse("[", Path::new("run.json")).unwrap_err().to_string();
        assert!(none.contains("run.json is not a valid record"), "{none}");
    }

    #[test]
    fn commits_and_dirty_combine_all_segments() {
        let segment = |commit: Option<&str>, dirty| Segment {
            commit: commit.map(str::to_owned),
            dirty,
            ..Segment::default()
        };
        let of = |a, b| {
            let run = RunRecord { segments: vec![a, b], ..RunRecord::default() };
            (run.commits(), run.is_dirty())
        };
        let x = || segment(Some("x"), Some(false));
        assert_eq!(of(x(), segment(Some("y"), Some(true))), (Some("x y".into()), Some(true)));
        assert_eq!(of(x(), segment(Some("x"), None)), (Some("x".into()), None));
        assert_eq!(of(segment(None, Some(false)), x()), (None, Some(false)));
    }

    #[test]
    fn different_recipes_have_different_hashes() {
        assert_ne!(hash(&json!({ "seed": 0 })), hash(&json!({ "seed": 1 })));
    }
}
