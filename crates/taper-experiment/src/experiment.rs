//! An experiment as it is given: a file, and settings on top of it.

use crate::spec::{Resolved, load};
use std::path::{Path, PathBuf};
use taper_compose::Setting;

/// An experiment file, or the defaults, with settings on top; the last one of a key counts.
///
/// ```
/// use taper_experiment::Experiment;
///
/// let experiment = Experiment::default().set("prune.method", "rigl").set("train.epochs", 2);
/// let resolved = experiment.resolve()?;
/// assert_eq!((resolved.method(), resolved.data()), ("rigl", "digits"));
/// assert!(Experiment::default().set("train.epocs", 2).resolve().is_err());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Experiment {
    file: Option<PathBuf>,
    shared: Vec<Setting>,
    settings: Vec<Setting>,
}

impl Experiment {
    /// That of a file.
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..Self::default() }
    }

    /// That of a file, if there is one, with settings of the form `key=value` on top. A value is TOML if it can be, else text.
    ///
    /// Settings that are `shared` lie beneath the others. They are for several experiments, so it is no error where nothing reads
    /// them.
    ///
    /// # Errors
    /// If a setting is of another form.
    pub fn given(
        file: Option<&Path>,
        shared: &[String],
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let parsed = |texts: &[String]| -> anyhow::Result<Vec<Setting>> {
            texts.iter().map(|text| Setting::parse(text)).collect()
        };
        let (shared, settings) = (parsed(shared)?, parsed(settings)?);
        Ok(Self { file: file.map(Path::to_owned), shared, settings })
    }

    /// Sets a key, such as `train.lr`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.settings.push(Setting::new(key, value));
        self
    }

    /// The experiment with a value for each key, checked.
    ///
    /// # Errors
    /// If the file cannot be read, a key is unknown or read by nothing, or a value or a combination of them cannot be.
    pub fn resolve(&self) -> anyhow::Result<Resolved> {
        Resolved::new(load(self.file.as_deref(), &self.shared, &self.settings)?)
    }
}
