//! Bands: the range of accuracies that a cell must reach, with the source of the numbers.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use taper_host::Usage;

use crate::sparsity::same_sparsity;
use crate::suite::Suite;

/// Bounds on the mean test accuracy of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Row of the suite.
    pub row: String,
    /// Sparsity of the cell; `None` for a row without sparsities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Lowest mean test accuracy that passes, a fraction.
    pub accuracy_min: f64,
    /// Highest mean test accuracy that passes, a fraction; `None` for no upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_max: Option<f64>,
    /// Source of the numbers: a paper, a reference implementation, or our own measurement with its manifest.
    pub source: String,
}

impl Band {
    /// Whether the band is for this cell.
    pub fn is_for(&self, row: &str, sparsity: Option<f64>) -> bool {
        self.row == row && same_sparsity(self.sparsity, sparsity)
    }

    /// Why a mean accuracy is outside the band; `None` if it is inside. The ends belong to the band.
    pub fn objection(&self, accuracy: f64) -> Option<String> {
        // An accuracy that is not a number must not pass.
        if accuracy.is_nan() || accuracy < self.accuracy_min {
            return Some(format!("accuracy {accuracy:.4} is below {:.4}", self.accuracy_min));
        }
        let max = self.accuracy_max.filter(|max| accuracy > *max)?;
        Some(format!("accuracy {accuracy:.4} is above {max:.4}"))
    }

    fn check(&self) -> Result<()> {
        let max = self.accuracy_max.unwrap_or(1.0);
        ensure!(
            (0.0..=1.0).contains(&self.accuracy_min) && (self.accuracy_min..=1.0).contains(&max),
            "accuracies {} to {max} are not fractions in ascending order within [0, 1]",
            self.accuracy_min
        );
        ensure!(
            !self.source.trim().is_empty(),
            "the source is empty; say where the numbers are from"
        );
        Ok(())
    }
}

/// Reads `bands.toml` of a suite; without the file, a suite has no bands.
///
/// # Errors
/// If the file is not valid, a band is for a cell that the suite does not have, or a cell has two bands.
pub(crate) fn load(suite: &Suite) -> Result<Vec<Band>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default, rename = "band")]
        bands: Vec<Band>,
    }
    let path = suite.folder().join("bands.toml");
    // A link to a missing file is an error, not a suite without bands.
    if path.symlink_metadata().is_err() {
        return Ok(Vec::new());
    }
    let bands = taper_compose::parse::<File>(&path, "bands")?.bands;
    let rows = suite.rows();
    for (i, band) in bands.iter().enumerate() {
        let cell = || match band.sparsity {
            Some(s) => format!("the band for '{}' at sparsity {s} in {}", band.row, path.display()),
            None => format!("the band for '{}' in {}", band.row, path.display()),
        };
        band.check().map_err(|error| Usage::new(format!("{}: {error}", cell())))?;
        let known = rows
            .iter()
            .any(|row| row.targets().iter().any(|target| band.is_for(&row.name, *target)));
        let unknown =
            || Usage::new(format!("{} is for a cell that the suite does not have", cell()));
        ensure!(known, unknown());
        let twice = bands[..i].iter().any(|other| other.is_for(&band.row, band.sparsity));
        ensure!(!twice, Usage::new(format!("{} occurs twice", cell())));
    }
    Ok(bands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(min: f64, max: Option<f64>) -> Band {
        Band {
            row: "feather".into(),
            sparsity: Some(0.95),
            accuracy_min: min,
            accuracy_max: max,
            source: "a test".into(),
        }
    }

    #[test]
    fn the_ends_belong_to_the_band() {
        let band = band(0.5, Some(0.75));
        assert_eq!(band.objection(0.5), None);
        assert_eq!(band.objection(0.75), None);
        assert_eq!(band.objection(0.4999).as_deref(), Some("accuracy 0.4999 is below 0.5000"));
        assert_eq!(band.objection(0.7501).as_deref(), Some("accuracy 0.7501 is above 0.7500"));
    }

    #[test]
    fn without_an_upper_bound_only_the_lower_counts_and_nan_never_passes() {
        assert_eq!(band(0.5, None).objection(1.0), None);
        assert!(band(0.5, None).objection(f64::NAN).is_some());
    }

    #[test]
    fn a_band_is_for_its_cell_only() {
        let band = band(0.5, None);
        assert!(band.is_for("feather", Some(0.95)) && band.is_for("feather", Some(0.95 + 1e-12)));
        assert!(!band.is_for("feather", Some(0.9)) && !band.is_for("feather", None));
        assert!(!band.is_for("ste", Some(0.95)));
    }

    #[test]
    fn invalid_bands_are_rejected() {
        let refused = |bands: &str| {
            let root = tempfile::tempdir().expect("a temporary folder");
            let folder = root.path().join("experiments/s");
            std::fs::create_dir_all(&folder).expect("creates");
            let suite = "title = 'T'\nsparsities = [0.9]\nseeds = 1\n[[row]]\nname = 'a'\n";
            std::fs::write(folder.join("suite.toml"), suite).expect("writes");
            std::fs::write(folder.join("bands.toml"), bands).expect("writes");
            let suite = Suite::load(&folder).expect("the suite is fine");
            load(&suite).map(|_| ()).map_err(|e| format!("{e:#}"))
        };
        let good = "[[band]]\nrow = 'a'\nsparsity = 0.9\naccuracy_min = 0.5\nsource = 'x'\n";
        assert_eq!(refused(good), Ok(()));
        assert_eq!(refused(""), Ok(()));
        let message = |bands: String| refused(&bands).expect_err("must be refused");
        assert!(message(good.replace("0.9", "0.95")).contains("does not have"));
        assert!(message(good.replace("'a'", "'b'")).contains("does not have"));
        assert!(message(good.replace("0.5", "50")).contains("within [0, 1]"));
        assert!(message(good.replace("'x'", "' '")).contains("source is empty"));
        assert!(message(format!("{good}{good}")).contains("twice"));
        assert!(message(format!("{good}accuracy_mix = 1\n")).contains("accuracy_mix"));
    }
}
