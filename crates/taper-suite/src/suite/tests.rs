//! Tests of the suite: the matrix, the keys, and the suites of the repository.

use super::*;
use crate::testing::repository;
use taper_compose::{Setting, put};

const SUITE: &str = "title = 'T'\nsparsities = [0.9, 0.95]\nseeds = 2\n\
    [[row]]\nname = 'dense'\nsparsities = []\n[[row]]\nname = 'feather'\nlabel = 'Feather'\n";

/// A repository with one suite `s` of rows `dense` and `feather`.
fn repository_with(suite: &str, feather: &str, base: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = root.path().join("experiments/s");
    std::fs::create_dir_all(&folder).expect("creates");
    for (name, text) in
        [("suite", suite), ("dense", "model = 'm'"), ("feather", feather), ("base", base)]
    {
        std::fs::write(folder.join(format!("{name}.toml")), text).expect("writes");
    }
    root
}

/// A stand-in for `taper`: the recipe as written, over a default of the network.
fn resolve(job: &Job, model: &str) -> Result<serde_json::Value> {
    let (written, _) = taper_compose::load(&job.experiment, "experiment", |_, _| Ok(()))?;
    let mut resolved = Table::from_iter([("model".to_owned(), Value::from(model))]);
    merge(&mut resolved, written);
    for text in job.set_shared.iter().cloned().chain(job.settings()) {
        let Setting { key, value } = Setting::parse(&text)?;
        put(&mut resolved, &key, value)?;
    }
    Ok(serde_json::to_value(resolved)?)
}

fn expand(suite: &Suite, root: &Path, overrides: &Overrides) -> Result<Vec<Job>> {
    suite.jobs(root, overrides, &|job| resolve(job, "m"))
}

fn jobs(feather: &str, base: &str, overrides: &Overrides) -> Vec<Job> {
    let root = repository_with(SUITE, feather, base);
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    expand(&suite, root.path(), overrides).expect("expands")
}

fn key_of(feather: &str, base: &str) -> String {
    jobs(feather, base, &Overrides::default()).pop().expect("jobs").key
}

const FEATHER: &str = "extends = 'base.toml'\n[train]\nlr = 0.1\n";
const BASE: &str = "model = 'm'\n[train]\nepochs = 7\nlr = 0.2\n";

#[test]
fn the_matrix_is_rows_by_sparsities_by_seeds() {
    let jobs = jobs(FEATHER, BASE, &Overrides::default());
    let names: Vec<String> = jobs.iter().map(Job::to_string).collect();
    assert_eq!(
        names,
        [
            "dense-seed0",
            "dense-seed1",
            "feather-s0.9-seed0",
            "feather-s0.9-seed1",
            "feather-s0.95-seed0",
            "feather-s0.95-seed1",
        ]
    );
    assert_eq!(jobs[5].epochs, Some(7), "through extends");
    assert_eq!((jobs[0].epochs, jobs[5].max_steps), (None, None));
    let mut keys: Vec<&str> = jobs.iter().map(|j| j.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 6, "keys are distinct");
}

#[test]
fn a_job_knows_the_limit_of_its_steps() {
    for (set, wanted) in [("train.max_steps=9", Some(9)), ("train.max_steps=0", None)] {
        let overrides = Overrides { set: vec![set.into()], ..Overrides::default() };
        assert_eq!(jobs(FEATHER, BASE, &overrides)[5].max_steps, wanted);
    }
}

#[test]
fn the_paths_that_a_suite_sets_are_relative_to_its_file() {
    let more = "[row.set]\ndata = 'digits'\n[[variant]]\nname = 'v'\nlabel = 'V'\nrows = ['dense']\n\
        set = { from = 'nets/a.safetensors', data = '../photos' }\n";
    let root = repository_with(&format!("{SUITE}{more}"), FEATHER, BASE);
    // A suite in another folder extends it.
    let folder = root.path().join("experiments/t");
    std::fs::create_dir(&folder).expect("creates");
    std::fs::write(folder.join("suite.toml"), "extends = '../s/suite.toml'\n").expect("writes");
    let suite = Suite::load(&root.path().join("experiments/t")).expect("loads");
    let sets: Vec<Table> = suite.entries().into_iter().map(|(.., set)| set).collect();
    let text = |i: usize, key: &str| sets[i].get(key).and_then(Value::as_str);
    // dense, its variant, feather
    assert_eq!((text(0, "data"), text(2, "data")), (None, Some("digits")));
    let at = |path: &str| root.path().join("experiments/t/../s").join(path).display().to_string();
    assert_eq!(text(1, "from"), Some(&*at("nets/a.safetensors")));
    assert_eq!(text(1, "data"), Some(&*at("../photos")));
}

#[test]
fn paths_of_the_command_line_are_relative_to_the_working_directory() {
    let here = std::env::current_dir().expect("a folder");
    let at = |path: &str| Some(here.join(path).display().to_string());
    for (set, key, wanted) in [
        ("from=nets/a.safetensors", "from", at("nets/a.safetensors")),
        ("data=./photos", "data", at("./photos")),
        ("data=src", "data", at("src")),
        ("data=cifar10", "data", Some("cifar10".into())),
        ("data=cifar10@v1.0", "data", Some("cifar10@v1.0".into())),
    ] {
        let overrides = Overrides { set: vec![set.into()], ..Overrides::default() };
        for job in jobs(FEATHER, BASE, &overrides) {
            let given: Table = job.set_shared.join("\n").parse().expect("settings");
            let given = given.get(key).and_then(Value::as_str).map(str::to_owned);
            assert_eq!(given, wanted, "{set}");
        }
    }
}

#[test]
fn a_key_changes_with_the_recipe_and_only_with_it() {
    let key = key_of(FEATHER, BASE);
    assert!(key.starts_with("feather-s0.95-seed1-"), "{key}");
    assert_eq!(key, key_of(&format!("# a comment\n{FEATHER}"), BASE));
    assert_eq!(
        key,
        key_of(FEATHER, "model = 'm'\n[train]\nlr = 0.2\nepochs = 7\n"),
        "the order of keys"
    );
    assert_eq!(
        key,
        key_of(FEATHER, "model = 'm'\n[train]\nlr = 0.3\nepochs = 7\n"),
        "an overridden value"
    );
    assert_ne!(key, key_of("extends = 'base.toml'\n[train]\nlr = 0.11\n", BASE), "the row file");
    assert_ne!(
        key,
        key_of(FEATHER, "model = 'm'\n[train]\nlr = 0.2\nepochs = 8\n"),
        "the file it extends"
    );
}

#[test]
fn a_key_changes_with_a_default_and_not_with_writing_it_down() {
    let root = repository_with(SUITE, FEATHER, "[train]\nepochs = 7\n");
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    let job = |model: &str| {
        let resolve = |job: &Job| resolve(job, model);
        let jobs = suite.jobs(root.path(), &Overrides::default(), &resolve);
        jobs.expect("expands").pop().expect("jobs")
    };
    let (before, after) = (job("m"), job("n"));
    assert_ne!(before.key, after.key, "another default");
    std::fs::write(
        root.path().join("experiments/s/base.toml"),
        "model = 'm'\n[train]\nepochs = 7\n",
    )
    .expect("writes");
    let written = job("n");
    assert_eq!(written.key, before.key, "the old default, written down");
}

#[test]
fn a_key_identifies_a_folder_of_data_by_its_content() {
    let root = repository_with(SUITE, FEATHER, "data = 'images'\nmodel = 'm'\n");
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    let key = || {
        let jobs = expand(&suite, root.path(), &Overrides::default());
        jobs.expect("expands").pop().expect("jobs").key
    };
    let image = |byte: u8| {
        std::fs::create_dir_all(root.path().join("images")).expect("creates");
        std::fs::write(root.path().join("images/train.bin"), [byte]).expect("writes");
    };
    image(1);
    let first = key();
    image(2);
    assert_ne!(key(), first);
    image(1);
    assert_eq!(key(), first);
}

#[test]
fn the_data_of_the_command_line_replace_those_of_the_suite() {
    let text = format!("{SUITE}set = {{ data = 'digits', model = 'm' }}\n");
    let root = repository_with(&text, FEATHER, BASE);
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    let overrides = Overrides {
        data: Some(ImageSource::of("cifar100").expect("a name")),
        ..Overrides::default()
    };
    let jobs = expand(&suite, root.path(), &overrides).expect("expands");
    let job = jobs.last().expect("jobs");
    assert_eq!(
        (job.data.as_deref(), &job.set[..]),
        (Some("cifar100"), &["model=\"m\"".into()][..])
    );
}

#[test]
fn a_setting_without_effect_is_rejected_with_a_remedy() {
    let root = repository_with(SUITE, FEATHER, BASE);
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    let refused = |set: &str, data: Option<&str>| {
        let overrides = Overrides {
            data: data.map(|name| ImageSource::of(name).expect("a name")),
            device: None,
            set: vec![set.into()],
        };
        let error = expand(&suite, root.path(), &overrides).expect_err("must be refused");
        assert!(error.is::<Usage>(), "{error}");
        error.to_string()
    };
    assert!(refused("seed=3", None).contains("--seeds N"));
    assert!(refused("seed = 3", None).contains("--seeds N"));
    assert!(refused("prune.sparsity=0.5", None).contains("--only"));
    assert!(refused("prune={sparsity=0.5}", None).contains("--only"));
    assert!(refused("data=digits", Some("cifar100")).contains("no effect with --data"));
    let data = Overrides { set: vec!["data=digits".into()], ..Overrides::default() };
    assert!(expand(&suite, root.path(), &data).is_ok());
}

#[test]
fn a_key_includes_what_the_command_line_changes() {
    let key = |data: Option<&str>, device: Option<&str>| {
        let overrides = Overrides {
            data: data.map(|name| ImageSource::of(name).expect("a name")),
            device: device.map(str::to_owned),
            set: Vec::new(),
        };
        jobs(FEATHER, BASE, &overrides).pop().expect("jobs").key
    };
    assert_eq!(key(None, None), key(None, Some("cpu")), "the CPU is the default");
    assert_ne!(key(None, None), key(None, Some("cuda:0")));
    assert_ne!(key(None, None), key(Some("folder"), None));
}

#[test]
fn a_suite_that_cannot_be_run_is_refused() {
    let refused = |from: &str, to: &str| {
        let root = repository_with(&SUITE.replace(from, to), FEATHER, BASE);
        format!(
            "{:#}",
            Suite::load(&root.path().join("experiments/s")).expect_err("must be refused")
        )
    };
    assert!(refused("0.95", "1.0").contains("sparsity 1 is outside [0, 1)"));
    assert!(refused("0.95", "nan").contains("sparsity NaN is outside [0, 1)"));
    assert!(refused("seeds = 2", "seeds = 0").contains("at least 1"));
    assert!(refused("seeds", "seedz").contains("seedz"));
    assert!(refused("'feather'", "'dense'").contains("row 'dense' occurs twice"));
    let baseline = refused("seeds = 2", "seeds = 2\nbaseline = 'fether'");
    assert!(baseline.contains("'fether', which is not a row; the rows are dense"), "{baseline}");
    let variant =
        "[[variant]]\nname = 'v'\nlabel = 'V'\nrows = ['dense', 'gmp*']\nset = {}\n[[row]]\n";
    assert!(refused("[[row]]\n", variant).contains("no row matches 'gmp*'"));
    let variant = |rows: &str| {
        let to = format!(
            "[[variant]]\nname = 'v'\nlabel = 'V'\nrows = [{rows}]\nsparsities = [0.5]\nset = {{}}\n[[row]]\n"
        );
        refused("[[row]]\n", &to)
    };
    assert!(variant("").contains("variant 'v' has no rows"));
    assert!(variant("'feather'").contains("sparsity 0.5, which none of its rows has"));
    let twice = refused("0.95", "0.95, 0.9500000000001");
    assert!(twice.contains("has sparsity 0.9500000000001 twice"), "{twice}");
    let grid = "seeds = 2\ngrid = { 'train.lr' = [0.1, 0.2], train = { lr = [0.3] } }";
    assert!(refused("seeds = 2", grid).contains("grid has a key twice"));
    let grid =
        "set = { train = { lr = 0.7 } }\ngrid = { 'train.lr' = [0.05, 0.1] }\nsparsities = []";
    let grid = refused("sparsities = []", grid);
    assert!(grid.contains("row 'dense' sets `train.lr`, but its grid"), "{grid}");
    let both = "seeds = 2\nset = { train = { lr = 0.7 } }\ngrid = { 'train.lr' = [0.05, 0.1] }";
    assert!(refused("seeds = 2", both).contains("set of the suite has `train.lr`"));
    assert!(refused("'feather'", "'../x'").contains("row name '../x'"));
    let set = |text: &str| refused("seeds = 2", &format!("seeds = 2\nset = {text}"));
    assert!(set("{ seed = 1 }").contains("has `seed`"));
    assert!(set("{ prune = { sparsity = 0.5 } }").contains("row 'feather' has `prune.sparsity`"));
}

const VARIED: &str = "title = 'T'\nsparsities = [0.9, 0.98]\nseeds = 1\nset = { train = { epochs = 3 } }\n\
    [[row]]\nname = 'dense'\nsparsities = []\n\
    [[row]]\nname = 'half'\nlabel = 'Half'\nexperiment = 'feather'\nset = { prune = { gradient = 0.5 } }\n\
    [[variant]]\nname = 'silent'\nlabel = 'silent'\nrows = ['h*']\nsparsities = [0.98]\n\
    set = { prune = { dead_filters = 'silent' } }\n";

#[test]
fn rows_may_change_an_experiment_and_variants_repeat_rows() {
    let root = repository_with(VARIED, FEATHER, BASE);
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    let labels: Vec<String> = suite.rows().into_iter().map(|row| row.label).collect();
    assert_eq!(labels, ["dense", "Half", "Half, silent"]);
    let jobs = expand(&suite, root.path(), &Overrides::default()).expect("expands");
    let names: Vec<String> = jobs.iter().map(Job::to_string).collect();
    assert_eq!(
        names,
        ["dense-seed0", "half-s0.9-seed0", "half-s0.98-seed0", "half-silent-s0.98-seed0"]
    );
    assert_eq!(
        jobs[3].set,
        ["prune.dead_filters=\"silent\"", "prune.gradient=0.5"],
        "settings of the row must have an effect"
    );
    assert_eq!(jobs[3].set_shared, ["train.epochs=3"]);
    assert_eq!(jobs[3].epochs, Some(3));
    assert!(jobs.iter().skip(1).all(|job| job.experiment.ends_with("s/feather.toml")));
    let overrides = Overrides {
        set: vec!["train.epochs=9".into(), "train.augment=none".into()],
        ..Overrides::default()
    };
    let longer = expand(&suite, root.path(), &overrides).expect("expands");
    assert_eq!(longer[0].epochs, Some(9));
    assert_eq!(longer[0].set_shared, ["train.augment=\"none\"", "train.epochs=9"]);
    assert_ne!(longer[0].key, jobs[0].key);
    let overrides = Overrides { set: vec!["epochs".into()], ..Overrides::default() };
    let error = expand(&suite, root.path(), &overrides).expect_err("no setting");
    assert!(error.to_string().contains("not of the form key=value"), "{error}");
}

#[test]
fn a_suite_takes_over_the_rows_of_another() {
    let root = repository_with(SUITE, FEATHER, BASE);
    let folder = root.path().join("experiments/short");
    std::fs::create_dir_all(&folder).expect("creates");
    let short = "extends = '../s/suite.toml'\ntitle = 'Short'\nset = { train = { epochs = 1 } }\n";
    std::fs::write(folder.join("suite.toml"), short).expect("writes");
    let suite = Suite::load(&root.path().join("experiments/short")).expect("loads");
    assert_eq!((suite.title.as_str(), suite.seeds), ("Short", 2));
    let jobs = expand(&suite, root.path(), &Overrides::default()).expect("expands");
    assert_eq!(jobs.len(), 6);
    assert!(jobs.iter().all(|job| job.epochs == Some(1)));
    // An experiment in the suite's own folder takes precedence over one with the same name below.
    std::fs::write(folder.join("dense.toml"), "model = 'n'").expect("writes");
    let own = expand(&suite, root.path(), &Overrides::default()).expect("expands");
    assert_ne!(own[0].key, jobs[0].key);
    assert_eq!(own[2].key, jobs[2].key);
}

#[test]
fn a_circle_of_extends_ends() {
    let root = repository_with(SUITE, FEATHER, "extends = 'feather.toml'");
    let suite = Suite::load(&root.path().join("experiments/s")).expect("the suite itself is fine");
    let error = expand(&suite, root.path(), &Overrides::default()).expect_err("a circle");
    assert!(error.to_string().contains("extend one another"), "{error}");
}

#[test]
fn the_quick_suite_of_this_repository_is_complete() {
    let root = repository();
    let suite = crate::find("quick", &root).expect("loads");
    let jobs = expand(&suite, &root, &Overrides::default()).expect("expands");
    assert_eq!(jobs.len(), 3 + 3 * 3 * 3);
    assert!(jobs.iter().all(|job| job.epochs.is_some()));
    crate::bands::load(&suite).expect("its bands load");
}

#[test]
fn every_suite_of_this_repository_can_be_run() {
    let root = repository();
    for name in crate::available(&root).expect("lists").keys() {
        let suite = crate::find(name, &root).expect(name);
        let jobs = expand(&suite, &root, &Overrides::default()).expect(name);
        assert!(jobs.iter().all(|job| job.epochs.is_some()), "{name}");
        crate::bands::load(&suite).expect(name);
    }
    // The short suite differs from the long one only in its length.
    for network in ["", "-mobilenet-v1", "-densenet40-24"] {
        let jobs = |suffix: &str| -> Vec<Job> {
            let suite = crate::find(&format!("cifar100{network}{suffix}"), &root).expect("loads");
            expand(&suite, &root, &Overrides::default()).expect("expands")
        };
        let names = |jobs: &[Job]| jobs.iter().map(Job::to_string).collect::<Vec<_>>();
        let (long, short) = (jobs(""), jobs("-short"));
        assert!(long.len() > 500 && names(&long) == names(&short), "{network}");
        assert!(long.iter().all(|job| job.epochs == Some(160)), "{network}");
        assert!(short.iter().all(|job| job.epochs == Some(2)), "{network}");
    }
}

#[test]
fn a_grid_repeats_rows_with_all_of_its_values() {
    let grid = "[grid]\n'train.lr' = [0.05, 0.1]\n[[row]]\n";
    let text = SUITE.replacen("[[row]]\n", grid, 1) + "grid = { train = { epochs = [1, 2] } }\n";
    let root = repository_with(&text, FEATHER, BASE);
    let suite = Suite::load(&root.path().join("experiments/s")).expect("loads");
    let rows: Vec<(String, String)> = suite.rows().into_iter().map(|r| (r.name, r.label)).collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["dense-lr0.05", "dense-lr0.1", "feather-epochs1", "feather-epochs2"]);
    assert_eq!(rows[2].1, "Feather, epochs 1");
    let jobs = expand(&suite, root.path(), &Overrides::default()).expect("expands");
    assert_eq!(jobs.len(), 2 * 2 + 2 * 2 * 2);
    assert_eq!(
        (jobs[0].set.as_slice(), jobs[4].epochs),
        (&["train.lr=0.05".to_owned()][..], Some(1))
    );
}

#[test]
fn a_run_of_an_earlier_version_resumes_in_its_folder() {
    let mut job =
        Job { earlier_keys: vec!["b".into(), "c".into()], ..crate::testing::job("a", 0.9, 0) };
    let own = job.key.clone();
    job.go_on(|_| false);
    assert_eq!(job.key, own, "there is no folder");
    job.go_on(|key| key == "c" || key == own);
    assert_eq!(job.key, own, "its own goes first");
    job.go_on(|key| key == "c");
    assert_eq!((job.key.as_str(), job.earlier_keys), ("c", vec!["b".to_owned(), own]));
}

#[test]
fn a_recorded_run_of_another_network_or_seed_differs() {
    let recipe = |model: &str, seed: u64| serde_json::json!({ "model": model, "seed": seed });
    let job = Job { recipe: recipe("resnet20", 1), ..crate::testing::job("a", 0.9, 1) };
    let difference = |recorded| job.difference(&recorded);
    assert_eq!(difference(recipe("resnet20", 1)), None);
    assert_eq!(difference(recipe("resnet20@0.3164", 1)), None, "the width of `dense-small`");
    assert_eq!(difference(serde_json::json!({})), None, "an earlier version");
    let other = difference(recipe("resnet18", 1)).expect("another network");
    assert_eq!(other, "model is \"resnet18\", not \"resnet20\"");
    assert_eq!(difference(recipe("resnet20", 2)).expect("another seed"), "seed is 2, not 1");
}
