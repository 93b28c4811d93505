//! The output folder of a run.

use crate::{difference::difference, error::usage};
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use taper::{
    record::{
        Lock, LockError, NAMES, RecordError, RunFiles, remove_partial_files, result::RunResult,
    },
    train::{callback::TensorBoard, checkpoint::Checkpoints},
};

/// The output folder of one run.
pub(crate) struct RunFolder {
    files: RunFiles,
    /// Held while this process uses the folder; the system releases it even if the process is killed.
    _lock: Lock,
}

/// How to open an output folder.
pub(crate) struct Request<'a> {
    /// Resume the run in the folder.
    pub resume: bool,
    /// Replace the run in the folder.
    pub force: bool,
    /// The recipe of the run.
    pub record: &'a Value,
    /// The checkpoint that the run starts from.
    pub from: Option<&'a Path>,
}

impl RunFolder {
    /// Creates the folder, or opens it to resume a run.
    ///
    /// A folder that contains any file of a run is in use. Opening it requires `resume` and a run with the same recipe,
    /// or `force` and a run with any recipe. Files that no run has written are never replaced.
    pub fn open(path: &Path, request: &Request) -> anyhow::Result<Self> {
        // Checked before anything is written, even the lock.
        Plan::of(path, request)?;
        let made = std::fs::create_dir_all(path);
        made.with_context(|| {
            format!("cannot make the output folder {}; choose another with --out", path.display())
        })?;
        let folder = Self { files: RunFiles::new(path), _lock: lock(path)? };
        // Checked again under the lock, since no other process can write now.
        if let Plan::Replace(records) = Plan::of(path, request)? {
            // `run.json`, which identifies the run, is deleted last: a folder left by a kill can still be replaced.
            for record in records.iter().rev() {
                std::fs::remove_file(record)
                    .with_context(|| format!("cannot delete {}", record.display()))?;
            }
        }
        remove_partial_files(path);
        Ok(folder)
    }

    /// Checks that the content of the folder comes from this recipe.
    pub fn expect_recipe(&self, found: &Value, record: &Value) -> anyhow::Result<()> {
        match difference(found, record) {
            None => Ok(()),
            Some(difference) => Err(another_recipe(self.path(), &difference)),
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.files.folder()
    }

    /// The files of the run.
    pub fn files(&self) -> &RunFiles {
        &self.files
    }

    /// The result, if the run is finished.
    pub fn result(&self) -> anyhow::Result<Option<RunResult>> {
        // Without its network, the run is finished again from the last checkpoint.
        if !self.files.path(NAMES.pruned).exists() {
            return Ok(None);
        }
        Ok(self.files.result()?)
    }

    /// Writes a JSON file atomically.
    pub fn write(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.files.write(name, value).map_err(unwritable)
    }

    /// Writes a text file atomically.
    pub fn write_text(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.files.write_text(name, text).map_err(unwritable)
    }
}

/// Adds what to do to the error of a file that cannot be written.
fn unwritable(error: RecordError) -> anyhow::Error {
    match error {
        RecordError::Io { path, source, .. } => anyhow::Error::new(source)
            .context(format!("cannot write {}; is the folder writable?", path.display())),
        other => other.into(),
    }
}

/// Locks the folder for this process.
fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let cannot = |error: LockError| match error {
        LockError::Unsupported { .. } => {
            usage(format!("{error}; choose another folder with --out"))
        }
        error => error.into(),
    };
    Lock::take(&folder.join(NAMES.lock)).map_err(cannot)?.ok_or_else(|| {
        usage(format!(
            "another taper process is training in {}; wait for it, or pass another --out",
            folder.display()
        ))
    })
}

/// How a folder may be used.
#[derive(Debug)]
enum Plan {
    /// Begin a run, or resume the existing one.
    Use,
    /// First delete these files of another run.
    Replace(Vec<PathBuf>),
}

impl Plan {
    fn of(folder: &Path, request: &Request) -> anyhow::Result<Self> {
        let records = records(folder)?;
        let Some(first) = records.first() else { return Ok(Self::Use) };
        let place = folder.display();
        let Some(recipe) = recipe_in(folder) else {
            let has = |name: &str| folder.join(name).symlink_metadata().is_ok();
            let has_checkpoints = !Checkpoints::files(&folder.join(NAMES.checkpoints))?.is_empty();
            // A run without its record resumes from its checkpoints, which contain the recipe, too.
            if request.resume && has_checkpoints && !has(NAMES.run) && !has(NAMES.result) {
                return Ok(Self::Use);
            }
            return Err(usage(format!(
                "{place} contains {}, but no run.json that identifies the run; move it away, or pass another --out",
                first.strip_prefix(folder).unwrap_or(first).display()
            )));
        };
        let difference = difference(&recipe, request.record);
        match (difference, request.resume, request.force) {
            (None, true, _) => Ok(Self::Use),
            (_, _, true) => {
                match request.from.filter(|from| records.iter().any(|r| is_same(r, from))) {
                    Some(from) => Err(usage(format!(
                        "--force would delete {}, the checkpoint that training starts from; pass another --out",
                        from.display()
                    ))),
                    None => Ok(Self::Replace(records)),
                }
            }
            (Some(difference), true, false) => Err(another_recipe(folder, &difference)),
            (_, false, false) => Err(usage(format!(
                "{place} already contains a run; pass --resume to continue it, --force to replace it, or another --out"
            ))),
        }
    }
}

/// Lists all files in a folder that a run writes, `run.json` first.
fn records(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let paths = NAMES.records().into_iter().map(|name| folder.join(name));
    let mut records: Vec<PathBuf> = paths.filter(|path| path.symlink_metadata().is_ok()).collect();
    records.extend(Checkpoints::files(&folder.join(NAMES.checkpoints))?);
    records.extend(TensorBoard::files(folder));
    Ok(records)
}

/// Reads the recipe of the run in a folder; `None` without a readable record.
fn recipe_in(folder: &Path) -> Option<Value> {
    let run: Value = serde_json::from_slice(&std::fs::read(folder.join(NAMES.run)).ok()?).ok()?;
    run.get("recipe").filter(|recipe| recipe.is_object()).cloned()
}

fn another_recipe(folder: &Path, difference: &str) -> anyhow::Error {
    usage(format!(
        "{} contains a run with another recipe: {difference}; resume with the same recipe, replace it with --force, or pass another --out",
        folder.display()
    ))
}

/// Whether two paths lead to the same file.
fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(record: &Value) -> Request<'_> {
        Request { resume: false, force: false, record, from: None }
    }

    #[test]
    fn any_file_of_a_run_makes_a_folder_used() {
        let record = json!({ "seed": 0 });
        let mut names: Vec<&str> = NAMES.records().into();
        names.extend(["checkpoints/step-00000003.safetensors", "checkpoints/best.safetensors"]);
        names.push("events.out.tfevents.1700000000.taper.0");
        for name in names {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "mine").unwrap();
            for (resume, force) in [(false, false), (false, true), (true, false), (true, true)] {
                let request = Request { resume, force, ..request(&record) };
                // A run resumes from checkpoints alone; they are checked later, before anything is written.
                if resume && name.starts_with("checkpoints") {
                    continue;
                }
                let error = RunFolder::open(folder.path(), &request).map(|_| ()).unwrap_err();
                assert!(error.to_string().contains(name), "{name}: {error}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"mine");
            assert!(!folder.path().join(".lock").exists(), "{name}");
        }
    }

    #[test]
    fn files_of_others_stay_with_and_without_a_run() {
        let (old, new) = (json!({ "seed": 0 }), json!({ "seed": 1 }));
        let folder = tempfile::tempdir().unwrap();
        let theirs = ["notes.txt", ".partial-download", ".lock", "checkpoints/step-3.safetensors"];
        std::fs::create_dir(folder.path().join("checkpoints")).unwrap();
        for name in theirs {
            std::fs::write(folder.path().join(name), "mine").unwrap();
        }
        let open = |record: &Value, force: bool| {
            let request = Request { force, ..request(record) };
            RunFolder::open(folder.path(), &request).map_err(|error| error.to_string())
        };
        let run = open(&old, false).expect("the folder is free");
        run.write(NAMES.run, &json!({ "recipe": old })).unwrap();
        for name in ["metrics.csv", "masks.csv", "checkpoints/step-00000003.safetensors"] {
            std::fs::write(folder.path().join(name), "ours").unwrap();
        }
        drop(run);
        assert!(open(&new, false).map(|_| ()).unwrap_err().contains("--force"));
        drop(open(&new, true).expect("it may be replaced"));
        assert_eq!(records(folder.path()).unwrap(), Vec::<PathBuf>::new());
        for name in theirs {
            assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), b"mine", "{name}");
        }
    }

    #[test]
    fn resuming_takes_precedence_over_replacing_if_the_recipe_is_the_same() {
        let (old, new) = (json!({ "seed": 0 }), json!({ "seed": 1 }));
        let folder = tempfile::tempdir().unwrap();
        let both = |record| Request { resume: true, force: true, ..request(record) };
        let run = RunFolder::open(folder.path(), &both(&old)).unwrap();
        run.write(NAMES.run, &json!({ "recipe": old })).unwrap();
        drop(run);
        assert!(matches!(Plan::of(folder.path(), &both(&old)), Ok(Plan::Use)));
        assert!(matches!(Plan::of(folder.path(), &both(&new)), Ok(Plan::Replace(_))));
    }
}
