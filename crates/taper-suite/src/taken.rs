//! Reuses runs of other results: a suite can be executed on several machines, or continue after its run folders are
//! lost.

use std::path::{Path, PathBuf};
use taper_record::results::Made;

use anyhow::{Result, ensure};

use crate::relative::relative;
use crate::results::{MadeOn, Results, RunLine, TakenFrom};
use crate::suite::Job;
use taper_host::Usage;

/// The first schema with keys from resolved recipes.
const FIRST_WITH_KEYS: u32 = 3;

/// Results folders with runs to reuse.
pub(crate) struct Sources(Vec<(PathBuf, Results)>);

impl Sources {
    /// Reads the folders.
    ///
    /// # Errors
    /// If a folder contains no results, or its schema is too old to identify the runs.
    pub(crate) fn load(dirs: &[PathBuf]) -> Result<Self> {
        let load = |dir: &PathBuf| {
            let results = Results::load(dir)?;
            ensure!(
                results.manifest.schema >= FIRST_WITH_KEYS,
                Usage::new(format!(
                    "{} has schema {}, in which the keys of runs do not include the defaults of experiments; execute the runs again, or leave --with out",
                    dir.display(),
                    results.manifest.schema
                ))
            );
            Ok((dir.clone(), results))
        };
        dirs.iter().map(load).collect::<Result<_>>().map(Self)
    }

    /// Rejects a folder that has none of the runs.
    ///
    /// # Errors
    /// If a folder has none of the runs; the message names it.
    pub(crate) fn expect_some_of(&self, jobs: &[Job]) -> Result<()> {
        for (source, results) in &self.0 {
            ensure!(
                jobs.iter().any(|job| run_of(results, job).is_some()),
                Usage::new(format!(
                    "{} has no run of this suite with these settings; pass the --data, --device and --set that it was \
                     made with, or leave --with out",
                    source.display()
                ))
            );
        }
        Ok(())
    }

    /// Whether a source has the run: the same recipe with the same seed.
    pub(crate) fn have(&self, job: &Job) -> bool {
        self.find(job).is_some()
    }

    fn find(&self, job: &Job) -> Option<(&Path, &Results, &RunLine)> {
        self.0
            .iter()
            .find_map(|(source, results)| Some((source.as_path(), results, run_of(results, job)?)))
    }

    /// Adds a run of a source to results that will be in `dir`; does nothing if no source has the run.
    pub(crate) fn add(&self, results: &mut Results, job: &Job, dir: &Path) {
        let Some((source, from, run)) = self.find(job) else { return };
        let checkpoint = run.checkpoint.as_ref().map(|path| source.join(path));
        let checkpoint = checkpoint.filter(|path| path.is_file()).map(|path| relative(&path, dir));
        results.runs.push(RunLine { key: job.key.clone(), checkpoint, ..run.clone() });
        let is_of = |row: &str, cell: Option<f64>, seed: u64| {
            (row, cell, seed) == (job.row.as_str(), job.sparsity, job.seed)
        };
        macro_rules! take {
            ($($lines:ident),*) => { $(
                let lines = from.$lines.iter().filter(|l| is_of(&l.row, l.cell, l.seed));
                results.$lines.extend(lines.cloned());
            )* };
        }
        take!(curves, steps, layers, fates);
        let origin = from.origin_of(&run.key);
        note(results, origin, &job.key);
        let has_made = |on: &&MadeOn| on.runs.contains(&run.key);
        let machines: Vec<&MadeOn> = from.manifest.machines.iter().filter(has_made).collect();
        machines.iter().for_each(|on| results.made_on(&on.machine, &job.key));
        if machines.is_empty() {
            // Older results record only one machine for all runs.
            results.made_on(&origin.machine, &job.key);
        }
    }
}

/// A run with the recipe and seed of a job.
fn run_of<'a>(results: &'a Results, job: &Job) -> Option<&'a RunLine> {
    let keys = || std::iter::once(&job.key).chain(&job.earlier_keys);
    results.runs.iter().find(|run| keys().any(|key| *key == run.key))
}

impl Results {
    /// The origin of a run, which may have been taken from other results before.
    fn origin_of(&self, key: &str) -> &Made {
        let manifest = &self.manifest;
        let has = |origin: &&TakenFrom| origin.runs.iter().any(|run| run == key);
        let known = manifest.taken.iter().find(has).map(|origin| &origin.made);
        known.unwrap_or(&manifest.made)
    }
}

/// Records the origin of a run in the manifest.
fn note(results: &mut Results, made: &Made, key: &str) {
    let taken = &mut results.manifest.taken;
    let place = taken.iter().position(|origin| origin.made == *made).unwrap_or_else(|| {
        taken.push(TakenFrom { made: made.clone(), runs: Vec::new() });
        taken.len() - 1
    });
    taken[place].runs.push(key.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::FateLine;
    use crate::testing;
    use taper_record::Machine;

    fn job(results: &Results, i: usize) -> Job {
        let run = &results.runs[i];
        Job {
            key: run.key.clone(),
            earlier_keys: Vec::new(),
            row: run.row.clone(),
            sparsity: run.sparsity_target,
            seed: run.seed,
            experiment: "x.toml".into(),
            set: Vec::new(),
            set_shared: Vec::new(),
            data: None,
            epochs: None,
            max_steps: None,
            recipe: serde_json::Value::Null,
        }
    }

    fn empty() -> Results {
        let mut results = testing::results();
        results.manifest.made.command = "cargo xtask reproduce --with there".into();
        results.runs.clear();
        results.curves.clear();
        results.steps.clear();
        results.layers.clear();
        results
    }

    #[test]
    fn a_run_is_taken_with_its_lines_and_its_first_origin() {
        let mut made = testing::results();
        made.manifest.made.dirty = true;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let there = dir.path().join("there");
        let (first, second) = (job(&made, 3), job(&made, 8));
        for (of, seed) in [(&first, first.seed), (&second, second.seed), (&first, 9)] {
            let (row, cell) = (of.row.clone(), of.sparsity);
            let (step, decile, age, n_pruned, n_back, n_kept) = (5, 9, 1, 10, 2, 1);
            let line = FateLine { row, cell, seed, step, decile, age, n_pruned, n_back, n_kept };
            made.fates.push(line);
        }
        made.save(&there).expect("saves");
        let sources = Sources::load(&[there]).expect("loads");
        assert!(sources.have(&first));
        let mut results = empty();
        sources.add(&mut results, &first, &dir.path().join("here"));
        sources.add(&mut results, &second, &dir.path().join("here"));
        let lines = (results.curves.len(), results.steps.len(), results.layers.len());
        assert_eq!(lines, (8, 4, 6), "only seed 0 has steps");
        assert_eq!(results.fates, made.fates[..2]);
        assert!(results.curves[..4].iter().all(|line| line.row == first.row && line.seed == 0));
        assert_eq!(results.runs[0].test_accuracy, made.runs[3].test_accuracy);
        assert_eq!(results.runs[0].checkpoint, None, "it does not exist");
        let [origin] = &results.manifest.taken[..] else { panic!("one origin") };
        assert_eq!(origin.made.command, made.manifest.made.command);
        assert_eq!((&origin.made.commit, origin.made.dirty), (&made.manifest.made.commit, true));
        assert_eq!(origin.runs, [first.key.as_str(), &second.key]);

        let here = dir.path().join("here");
        results.save(&here).expect("saves");
        let mut third = empty();
        Sources::load(&[here]).expect("loads").add(&mut third, &second, dir.path());
        assert_eq!(
            third.manifest.taken[0].made.command, made.manifest.made.command,
            "the first origin"
        );
        assert_eq!(third.manifest.taken[0].runs, [second.key]);
    }

    #[test]
    fn a_run_is_found_by_the_key_that_an_earlier_version_gave_it() {
        let made = testing::results();
        let dir = tempfile::tempdir().expect("a temporary folder");
        made.save(dir.path()).expect("saves");
        let sources = Sources::load(&[dir.path().to_owned()]).expect("loads");
        let known = job(&made, 3);
        let later = Job { key: "later".into(), earlier_keys: vec![known.key.clone()], ..known };
        assert!(sources.have(&later));
        let mut results = empty();
        sources.add(&mut results, &later, dir.path());
        assert_eq!(results.runs[0].key, "later");
        assert!(!sources.have(&Job { earlier_keys: Vec::new(), ..later }));
    }

    #[test]
    fn results_with_older_keys_are_rejected_as_sources() {
        let mut made = testing::results();
        made.manifest.schema = 2;
        let dir = tempfile::tempdir().expect("a temporary folder");
        made.save(dir.path()).expect("saves");
        let refused = Sources::load(&[dir.path().to_owned()]).map(|_| ());
        assert!(refused.expect_err("refused").to_string().contains("has schema 2"));
        assert!(Results::load(dir.path()).is_ok(), "they can be read");
    }

    #[test]
    fn the_machines_of_a_run_are_taken_with_it() {
        let mut made = testing::results();
        let (first, second) = (job(&made, 3), job(&made, 4));
        let gpu = Machine { gpu: Some("GPU".into()), ..made.manifest.made.machine.clone() };
        made.made_on(&gpu, &first.key);
        made.made_on(&made.manifest.made.machine.clone(), &second.key);
        let dir = tempfile::tempdir().expect("a temporary folder");
        made.save(dir.path()).expect("saves");
        let mut results = empty();
        let sources = Sources::load(&[dir.path().to_owned()]).expect("loads");
        sources.add(&mut results, &first, dir.path());
        sources.add(&mut results, &second, dir.path());
        assert_eq!(results.manifest.machines, made.manifest.machines);
    }

    #[test]
    fn runs_of_two_folders_have_two_origins() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folders = ["one", "two"].map(|name| dir.path().join(name));
        let mut made = testing::results();
        for (i, folder) in folders.iter().enumerate() {
            made.manifest.made.command = format!("cargo xtask reproduce --seeds {i}");
            made.runs.rotate_left(6 * i);
            let mut half = made.clone();
            half.runs.truncate(6);
            half.save(folder).expect("saves");
        }
        let jobs = [5, 0].map(|i| job(&made, i));
        let sources = Sources::load(&folders).expect("loads");
        let mut results = empty();
        jobs.iter().for_each(|job| sources.add(&mut results, job, dir.path()));
        let taken: Vec<&str> =
            results.manifest.taken.iter().map(|origin| origin.made.command.as_str()).collect();
        assert_eq!(taken, ["cargo xtask reproduce --seeds 1"], "both are in the second");
        let first = job(&testing::results(), 0);
        sources.add(&mut results, &first, dir.path());
        assert_eq!(results.manifest.taken.len(), 2);
        assert_eq!(results.manifest.taken[1].runs, [first.key]);
    }

    #[test]
    fn another_recipe_is_another_run() {
        let made = testing::results();
        let dir = tempfile::tempdir().expect("a temporary folder");
        made.save(dir.path()).expect("saves");
        let mut other = job(&made, 3);
        other.key.push('0');
        let sources = Sources::load(&[dir.path().to_owned()]).expect("loads");
        assert!(sources.expect_some_of(&[other.clone(), job(&made, 3)]).is_ok());
        let error = sources.expect_some_of(std::slice::from_ref(&other)).unwrap_err().to_string();
        assert!(error.contains("has no run of this suite"), "{error}");
        assert!(!sources.have(&other));
        let mut results = empty();
        sources.add(&mut results, &other, dir.path());
        assert!(results.runs.is_empty() && results.manifest.taken.is_empty());
    }

    #[test]
    fn an_existing_checkpoint_gets_a_path_relative_to_the_new_folder() {
        let made = testing::results();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let there = dir.path().join("results/there");
        made.save(&there).expect("saves");
        let job = job(&made, 3);
        let file = there.join(made.runs[3].checkpoint.as_ref().expect("a checkpoint"));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, "").expect("writes");
        let mut results = empty();
        let sources = Sources::load(&[there]).expect("loads");
        sources.add(&mut results, &job, &dir.path().join("results/here"));
        let told = results.runs[0].checkpoint.as_deref();
        assert_eq!(told, Some("../there/runs/gmp-0/pruned.safetensors"));
    }

    #[test]
    fn a_folder_without_results_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = Sources::load(&[dir.path().to_owned()]).err().expect("must be refused");
        assert!(format!("{error:#}").contains("is this a results folder?"), "{error:#}");
    }
}
