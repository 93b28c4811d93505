//! An experiment before its defaults are filled in: a file with settings on top.

use crate::spec::{Resolved, load};
use std::path::{Path, PathBuf};
use taper_compose::Setting;

/// An experiment file or the defaults, with settings on top. The last setting of a key counts.
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
    /// Starts from a file.
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..Self::default() }
    }

    /// Starts from a file, if any, with settings of the form `key=value` on top. A value that is not TOML is read as
    /// text.
    ///
    /// `shared` settings lie below the others. They are meant for several experiments, so a shared key without an
    /// effect is not an error.
    ///
    /// # Errors
    /// If a setting does not have this form.
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

    /// Fills in a value for each key, and checks the experiment.
    ///
    /// # Errors
    /// If the file cannot be read, a key is unknown or has no effect, or a value or combination is not allowed.
    pub fn resolve(&self) -> anyhow::Result<Resolved> {
        Resolved::new(load(self.file.as_deref(), &self.shared, &self.settings)?)
    }
}
