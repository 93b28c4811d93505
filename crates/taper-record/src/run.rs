//! `run.json`: what a run is of, and what has computed it.

use crate::{Machine, RecordError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use taper_core::rng::fnv1a;

/// Version of `run.json`; 1 had what is now a segment at its top, of the last time alone.
pub const SCHEMA: u64 = 2;

/// `run.json`: what a run is of, and what has computed it. It is there before any other file of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Version of the file.
    pub schema: u64,
    /// The experiment with a value for each key.
    pub recipe: Value,
    /// [`hash`] of it.
    pub recipe_hash: String,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Steps of the whole run; 0 where that is not known.
    pub steps: u64,
    /// Steps of an epoch; 0 where that is not known.
    pub steps_per_epoch: u64,
    /// The images.
    pub data: DataRecord,
    /// What has computed the steps, from the start and from each time that the run went on.
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
    /// Training images, without those that are held out.
    pub n_train: usize,
    /// Test images.
    pub n_test: usize,
    /// Classes.
    pub classes: usize,
    /// Where the images were read from.
    pub source: String,
    /// Commit of what came from the hub.
    pub commit: Option<String>,
    /// SHA-256 of each file that came from the hub.
    pub sha256: BTreeMap<String, String>,
}

/// What has computed a part of the steps: the program, the machine, and how it was used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// Its first step.
    pub from_step: u64,
    /// Commit of the program, where it was built in a git work tree.
    pub commit: Option<String>,
    /// Whether that work tree differed from the commit, where that is known.
    pub dirty: Option<bool>,
    /// Versions of the program and of candle.
    pub versions: Versions,
    /// The machine.
    pub machine: Machine,
    /// `cpu`, `cuda:N` or `metal`.
    pub device: String,
    /// Threads of the CPU, of each rank.
    pub threads: usize,
    /// Processes that trained it together, where there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
    /// Instruction set of the CPU's kernels.
    pub kernels: String,
    /// How dense and sparse kernels were chosen, where that is known.
    pub choice: Option<String>,
}

/// Versions of what computed a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// Of Taper.
    pub taper: Option<String>,
    /// Of candle.
    pub candle: Option<String>,
}

impl RunRecord {
    /// Takes a file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] if it is something else, [`RecordError::Later`] if it is of a later version.
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

    /// The epochs of the whole run, by its steps where they are known: `train.max_steps` may end it before its epochs are over.
    pub fn epochs(&self) -> f64 {
        match (self.steps, self.steps_per_epoch) {
            (steps @ 1.., per_epoch @ 1..) => steps as f64 / per_epoch as f64,
            _ => self.recipe["train"]["epochs"].as_f64().unwrap_or(0.0),
        }
    }

    /// The commits of its programs with spaces between them, each once; `None` if one of them is not known.
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

    /// Whether a program with changes had a part in it; `None` where that is not known.
    pub fn is_dirty(&self) -> Option<bool> {
        let dirty = self.segments.iter().map(|segment| segment.dirty);
        match dirty.clone().any(|dirty| dirty == Some(true)) {
            true => Some(true),
            false => dirty.collect::<Option<Vec<_>>>().map(|_| false),
        }
    }

    /// A text of the recipe, by a path such as `/prune/adapt`.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.recipe.pointer(pointer).and_then(Value::as_str)
    }
}

/// 16 hexadecimal digits that tell recipes apart.
pub fn hash(recipe: &Value) -> String {
    format!("{:016x}", fnv1a(recipe.to_string().as_bytes()))
}

/// The one segment that version 1 knew; whether its program was built from changed sources was not recorded.
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
    fn what_is_written_is_read() {
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
    fn version_1_has_one_segment_and_a_later_one_is_refused() {
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
        assert!(none.contains("run.json is no record"), "{none}");
    }

    #[test]
    fn a_run_says_who_computed_it() {
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
    fn hashes_tell_recipes_apart() {
        assert_ne!(hash(&json!({ "seed": 0 })), hash(&json!({ "seed": 1 })));
    }
}
