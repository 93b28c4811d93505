//! From files and settings to a [`Spec`].

use super::{Spec, keys};
use crate::error::usage;
use std::path::Path;
use taper::data::DATASETS;
use taper_compose::{Setting, one_line, place, put};
use toml::{Table, Value};

/// Reads an experiment and puts settings on top, the last one winning.
pub fn load(file: Option<&Path>, settings: &[Setting]) -> anyhow::Result<Spec> {
    let known = serde_json::to_value(Spec::default())?;
    let mut table = match file {
        Some(file) => read(file, &known)?,
        None => Table::new(),
    };
    for Setting { key, value } in settings {
        put(&mut table, key, value.clone())?;
        keys::check(&table, &known, "")?;
    }
    Value::Table(table).try_into::<Spec>().map_err(|e| {
        let place = file.map_or("the command line".to_string(), |f| {
            format!("{} and the command line", f.display())
        });
        usage(format!("{place}: {}", one_line(&e.to_string())))
    })
}

/// A file with those that it extends, each with the keys that there are, and with paths relative to itself. Those of flags and
/// `--set` are relative to where the program runs.
fn read(file: &Path, known: &serde_json::Value) -> anyhow::Result<Table> {
    let (table, _) = taper_compose::load(file, "experiment", |own, file| {
        keys::check(own, known, "")?;
        place(own, file.parent().unwrap_or(Path::new("")), &DATASETS);
        Ok(())
    })?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_one() {
        let error =
            |key: &str| load(None, &[Setting::parse(key).unwrap()]).unwrap_err().to_string();
        assert_eq!(
            error("train.epocs=3"),
            "unknown key `train.epocs`; did you mean `train.epochs`?"
        );
        assert_eq!(error("lr=3"), "unknown key `lr`; did you mean `train.lr`?");
        assert_eq!(error("sede=3"), "unknown key `sede`; did you mean `seed`?");
        assert!(error("prune.zzz=3").contains("the keys there are adapt, adapt_deadline"));
    }

    #[test]
    fn sections_are_tables() {
        let error =
            |key: &str| load(None, &[Setting::parse(key).unwrap()]).unwrap_err().to_string();
        for key in ["prune=[\"gmp\"]", "train=[1, 32]", "prune=gmp", "prune=[]"] {
            assert!(error(key).contains("is a section with keys of its own"), "{}", error(key));
        }
    }

    #[test]
    fn values_are_toml_or_text() {
        let spec = |texts: &[&str]| {
            let overrides: Vec<_> = texts.iter().map(|t| Setting::parse(t).unwrap()).collect();
            load(None, &overrides)
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
            load(Some(&folder.join("row.toml")), &[Setting::new("train.epochs", 5)]).unwrap();
        assert_eq!(
            (spec.train.lr, spec.train.epochs, spec.data.as_deref()),
            (Some(0.2), Some(5), Some("digits"))
        );
        let error = load(Some(&folder.join("loop.toml")), &[]).unwrap_err().to_string();
        assert!(error.contains("extend one another"), "{error}");
        let error = load(Some(&folder.join("none.toml")), &[]).unwrap_err().to_string();
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
            let spec = load(Some(&at("b/row.toml")), overrides).unwrap();
            (spec.data, spec.from)
        };
        let absolute = at("a/net").display().to_string();
        std::fs::write(at("a/base.toml"), "data = \"photos\"\nfrom = \"net.safetensors\"").unwrap();
        assert_eq!(
            of("extends = \"../a/base.toml\"", &[]),
            (text("b/../a/photos"), text("b/../a/net.safetensors")),
            "by the file that says it"
        );
        assert_eq!(
            of(&format!("data = \"../photos\"\nfrom = \"{absolute}\""), &[]),
            (text("b/../photos"), text("a/net"))
        );
        for name in ["digits", "cifar100", "cifar10@v1", "cifar1000"] {
            assert_eq!(of(&format!("data = \"{name}\""), &[]).0.as_deref(), Some(name));
        }
        // A folder of that name where the program runs is not meant.
        assert_eq!(of("data = \"src\"", &[]).0, text("b/src"));
        let flags = [Setting::new("data", "photos"), Setting::new("from", "x/net")];
        assert_eq!(of("data = \"more\"", &flags), (Some("photos".into()), Some("x/net".into())));
    }
}
