//! Reads files and settings into a [`Spec`].

use super::{Said, Spec, keys};
use crate::error::usage;
use std::{collections::BTreeSet, path::Path};
use taper_compose::{Setting, one_line, place, put};
use toml::{Table, Value};

/// Reads an experiment and puts settings on top; the last setting of a key counts. `shared` settings lie below the
/// others. They are meant for several experiments, so a shared key without an effect is not an error.
pub fn load(file: Option<&Path>, shared: &[Setting], settings: &[Setting]) -> anyhow::Result<Spec> {
    let known = serde_json::to_value(Spec::default())?;
    let (mut table, in_file) = match file {
        Some(file) => read(file, &known)?,
        None => Default::default(),
    };
    let (shared, settings) = (single(shared, &known), single(settings, &known));
    for Setting { key, value } in shared.iter().chain(&settings) {
        put(&mut table, key, value.clone())?;
        keys::check(&table, &known, "")?;
    }
    let by_flags = settings.iter().map(|setting| setting.key.clone()).collect();
    let said = Said { in_file, by_flags };
    let spec = Value::Table(table.clone()).try_into::<Spec>().map_err(|error| {
        let place = file.map_or("the command line".to_string(), |f| {
            format!("{} and the command line", f.display())
        });
        let reason = one_line(&error.to_string());
        usage(format!("{place}: {}", keys::misfit(&table, &reason).unwrap_or(reason)))
    })?;
    Ok(Spec { said, ..spec })
}

/// The keys that a setting `key=value` sets; several for a whole section, `prune={ begin = 0.1 }`.
///
/// # Errors
/// If it is no setting.
pub fn keys_of(setting: &str) -> anyhow::Result<Vec<String>> {
    let known = serde_json::to_value(Spec::default())?;
    let settings = single(&[Setting::parse(setting)?], &known);
    Ok(settings.into_iter().map(|setting| setting.key).collect())
}

/// Settings with those of a whole section, `prune={ begin = 0.1 }`, one by one: the other keys of the section stay.
fn single(settings: &[Setting], known: &serde_json::Value) -> Vec<Setting> {
    let each = settings.iter().flat_map(|setting| match &setting.value {
        Value::Table(section) if known[&setting.key].is_object() => section
            .iter()
            .map(|(name, value)| Setting {
                key: format!("{}.{name}", setting.key),
                value: value.clone(),
            })
            .collect(),
        _ => vec![setting.clone()],
    });
    each.collect()
}

/// Reads a file with the files that it extends. Checks the keys of each file, and makes its paths relative to it. Also
/// returns the keys that the file itself sets. Paths in flags and `--set` stay relative to the working directory.
fn read(file: &Path, known: &serde_json::Value) -> anyhow::Result<(Table, BTreeSet<String>)> {
    let mut first = None;
    let (table, _) = taper_compose::load(file, "experiment", |own, file| {
        keys::check(own, known, "")?;
        place(own, file.parent().unwrap_or(Path::new("")));
        first.get_or_insert_with(|| dotted(own));
        Ok(())
    })?;
    Ok((table, first.unwrap_or_default()))
}

/// The keys of a table and of the sections in it, such as `train.lr`.
fn dotted(table: &Table) -> BTreeSet<String> {
    let keys = table.iter().flat_map(|(name, value)| match value {
        Value::Table(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
        _ => vec![name.clone()],
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_a_section_leaves_its_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "[prune]\nmethod = \"rigl\"\nsparsity = 0.98\n").unwrap();
        let setting =
            Setting::parse("prune={ refresh_every = 7, pins = { \"a\" = 0.0 } }").unwrap();
        let spec = load(Some(&file), &[], &[setting]).unwrap();
        assert_eq!((spec.prune.method.as_deref(), spec.prune.sparsity), (Some("rigl"), Some(0.98)));
        assert_eq!(spec.prune.refresh_every, Some(7));
        let flags = ["prune.pins", "prune.refresh_every"].map(String::from);
        assert_eq!(spec.said.by_flags, flags.into());
    }

    #[test]
    fn unknown_keys_are_rejected_with_the_nearest_one() {
        let error =
            |key: &str| load(None, &[], &[Setting::parse(key).unwrap()]).unwrap_err().to_string();
        assert_eq!(
            error("train.epocs=3"),
            "unknown key `train.epocs`; did you mean `train.epochs`?"
        );
        assert_eq!(error("lr=3"), "unknown key `lr`; did you mean `train.lr`?");
        assert_eq!(error("sede=3"), "unknown key `sede`; did you mean `seed`?");
        assert!(error("prune.zzz=3").contains("the keys are adapt, adapt_deadline"));
    }

    #[test]
    fn sections_are_tables() {
        let error =
            |key: &str| load(None, &[], &[Setting::parse(key).unwrap()]).unwrap_err().to_string();
        for key in ["prune=[\"gmp\"]", "train=[1, 32]", "prune=gmp", "prune=[]"] {
            assert!(error(key).contains("is a section, not a value"), "{}", error(key));
        }
    }

    #[test]
    fn values_of_another_type_are_refused_with_what_the_key_takes() {
        let error =
            |set: &str| load(None, &[], &[Setting::parse(set).unwrap()]).unwrap_err().to_string();
        for (set, wanted) in [
            (
                "train.epochs=[1, 2]",
                "train.epochs is [1, 2]; it must be a whole number of at least 0",
            ),
            ("train.epochs=1.5", "train.epochs is 1.5; it must be a whole number"),
            ("seed=-1", "seed is -1; it must be a whole number of at least 0"),
            ("prune.sparsity=\"0.9\"", "prune.sparsity is \"0.9\"; it must be a number"),
            ("train.ham=1", "train.ham is 1; it must be true or false"),
            ("prune.threshold=3", "prune.threshold is 3; it must be text in quotes"),
            ("prune.gradient=[1]", "prune.gradient is [1]; it must be text in quotes or a number"),
            ("prune.adapt_reference=true", "it must be text in quotes or a number"),
            (
                "train.milestones=0.5",
                "train.milestones is 0.5; it must be a list, such as [0.5, 0.75]",
            ),
            ("prune.points=[0.5]", "it must be a list of pairs, such as [[0.1, 0.5], [0.5, 0.9]]"),
            ("prune.points=[[0.5]]", "prune.points is [[0.5]]; it must be a list of pairs"),
            (
                "prune.pins=0.5",
                "prune.pins is 0.5; it must be a table, such as { \"conv1.weight\" = 0.0 }",
            ),
            ("prune.pins={ \"conv1.weight\" = \"a\" }", "it must be a table, such as"),
            ("prune.end={ x = 1 }", "prune.end is { x = 1 }; it must be a number"),
        ] {
            assert!(error(set).contains(wanted), "{set}: {}", error(set));
        }
    }

    #[test]
    fn values_are_toml_or_text() {
        let spec = |texts: &[&str]| {
            let overrides: Vec<_> = texts.iter().map(|t| Setting::parse(t).unwrap()).collect();
            load(None, &[], &overrides)
        };
        let set =
            spec(&["train.lr=0.5", "prune.schedule=cosine", "prune.method=\"ste\"", "seed = 3"])
                .unwrap();
        assert_eq!(set.train.lr, Some(0.5));
        assert_eq!(set.prune.schedule.as_deref(), Some("cosine"));
        assert_eq!(set.prune.method.as_deref(), Some("ste"));
        assert_eq!(set.seed, Some(3));
        let pins = spec(&["prune.pins={ \"conv1.weight\" = 0.0 }"]).unwrap().prune.pins.unwrap();
        assert_eq!(pins["conv1.weight"], 0.0);
        let error = spec(&["train.epochs=many"]).unwrap_err();
        assert_eq!(crate::error::exit_code(&error), 2);
        assert!(Setting::parse("epochs").is_err());
    }

    #[test]
    fn a_file_lies_over_what_it_extends_and_flags_over_both() {
        let folder = std::env::temp_dir().join(format!("taper-spec-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("base.toml", "data = \"digits\"\n[train]\nlr = 0.1\nepochs = 3\n");
        write("row.toml", "extends = \"base.toml\"\n[train]\nlr = 0.2\n");
        write("loop.toml", "extends = \"loop.toml\"\n");
        let spec =
            load(Some(&folder.join("row.toml")), &[], &[Setting::new("train.epochs", 5)]).unwrap();
        assert_eq!(
            (spec.train.lr, spec.train.epochs, spec.data.as_deref()),
            (Some(0.2), Some(5), Some("digits"))
        );
        let error = load(Some(&folder.join("loop.toml")), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("extend one another"), "{error}");
        let error = load(Some(&folder.join("none.toml")), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("cannot read experiment"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn paths_are_relative_to_the_file_that_has_them() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let text = |name: &str| Some(at(name).display().to_string());
        std::fs::create_dir_all(at("a/photos")).unwrap();
        std::fs::create_dir_all(at("b")).unwrap();
        let of = |toml: &str, overrides: &[Setting]| {
            std::fs::write(at("b/row.toml"), toml).unwrap();
            let spec = load(Some(&at("b/row.toml")), &[], overrides).unwrap();
            (spec.data, spec.from)
        };
        let absolute = at("a/net").display().to_string();
        std::fs::write(at("a/base.toml"), "data = \"photos\"\nfrom = \"net.safetensors\"").unwrap();
        assert_eq!(
            of("extends = \"../a/base.toml\"", &[]),
            (text("b/../a/photos"), text("b/../a/net.safetensors")),
            "relative to the file that sets it"
        );
        assert_eq!(
            of(&format!("data = \"../photos\"\nfrom = \"{absolute}\""), &[]),
            (text("b/../photos"), text("a/net"))
        );
        for name in ["digits", "cifar100", "cifar10@v1", "cifar1000"] {
            assert_eq!(of(&format!("data = \"{name}\""), &[]).0.as_deref(), Some(name));
        }
        // A folder with that name in the working directory is not meant.
        assert_eq!(of("data = \"src\"", &[]).0, text("b/src"));
        let flags = [Setting::new("data", "photos"), Setting::new("from", "x/net")];
        assert_eq!(of("data = \"more\"", &flags), (Some("photos".into()), Some("x/net".into())));
    }
}
