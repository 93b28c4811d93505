//! Normalisation of 8-bit pixels to the inputs of a network: `(pixel / scale - mean) / std` per channel, in `f32`.

use crate::{DataError, Result};
use std::borrow::Cow;

/// Mean and standard deviation of each channel, in units of `pixel / scale`.
///
/// ```
/// use taper_data::Normalisation;
/// let black = Normalisation::FEATHER.apply(0, 0);
/// assert!((black - (0.0 - 0.4914) / 0.2023).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    mean: Cow<'static, [f32]>,
    std: Cow<'static, [f32]>,
    scale: f32,
}

impl Normalisation {
    /// The constants of Feather's reference implementation: those of CIFAR-10. The reference also uses them for
    /// CIFAR-100. Since this affects results, they are the default for both data sets here; see
    /// [`Self::CIFAR100_TRUE`].
    pub const FEATHER: Self = Self {
        mean: Cow::Borrowed(&[0.4914, 0.4822, 0.4465]),
        std: Cow::Borrowed(&[0.2023, 0.1994, 0.2010]),
        scale: 255.0,
    };

    /// Mean and standard deviation of the training images of CIFAR-100.
    pub const CIFAR100_TRUE: Self = Self {
        mean: Cow::Borrowed(&[0.5071, 0.4865, 0.4409]),
        std: Cow::Borrowed(&[0.2673, 0.2564, 0.2762]),
        scale: 255.0,
    };

    /// Mean and standard deviation of the training images of the embedded digits. Their pixels range from 0 to 16.
    pub const DIGITS: Self = Self {
        mean: Cow::Borrowed(&[0.305_135_8]),
        std: Cow::Borrowed(&[0.376_157_55]),
        scale: 16.0,
    };

    /// Mean and standard deviation of ImageNet's training images, as in torchvision's pretrained networks.
    pub const IMAGENET: Self = Self {
        mean: Cow::Borrowed(&[0.485, 0.456, 0.406]),
        std: Cow::Borrowed(&[0.229, 0.224, 0.225]),
        scale: 255.0,
    };

    /// The names for [`Self::by_name`].
    pub const NAMES: [&'static str; 4] = ["cifar10", "cifar100", "imagenet", "digits"];

    /// Custom constants: a mean and a standard deviation per channel, in units of `pixel / scale`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] unless there are as many means as standard deviations (at least one), all means are
    /// finite, and all standard deviations and the scale are finite and positive.
    pub fn new(mean: Vec<f32>, std: Vec<f32>, scale: f32) -> Result<Self> {
        if mean.is_empty() || mean.len() != std.len() {
            return Err(DataError::Invalid(format!(
                "normalisation needs one mean and one standard deviation per channel, but has {} and {}",
                mean.len(),
                std.len()
            )));
        }
        if let Some(m) = mean.iter().find(|m| !m.is_finite()) {
            return Err(DataError::Invalid(format!("a mean is {m}; it must be finite")));
        }
        if let Some(s) = std.iter().chain([&scale]).find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(DataError::Invalid(format!(
                "a standard deviation or the scale is {s}; it must be finite and above 0"
            )));
        }
        Ok(Self { mean: mean.into(), std: std.into(), scale })
    }

    /// The constants by name: `cifar10` ([`Self::FEATHER`]), `cifar100` ([`Self::CIFAR100_TRUE`]), `imagenet`
    /// ([`Self::IMAGENET`]) or `digits` ([`Self::DIGITS`]). Other constants are written as `MEAN,…/STD,…`, with one
    /// number per channel, for pixels in [0, 1].
    ///
    /// # Errors
    /// [`DataError::Invalid`] with a list of the names, for any other name; otherwise the errors of [`Self::new`].
    pub fn by_name(name: &str) -> Result<Self> {
        if let Some(constants) = written_out(name) {
            let [mean, std] = constants;
            return Self::new(mean, std, 255.0);
        }
        match name {
            "cifar10" => Ok(Self::FEATHER),
            "cifar100" => Ok(Self::CIFAR100_TRUE),
            "imagenet" => Ok(Self::IMAGENET),
            "digits" => Ok(Self::DIGITS),
            _ => Err(DataError::Invalid(format!(
                "no normalisation is named `{name}`; known are {}, or write a mean and a deviation for each channel, such as `0.5,0.5,0.5/0.25,0.25,0.25`",
                Self::NAMES.map(|n| format!("`{n}`")).join(", ")
            ))),
        }
    }

    /// The name of the default constants for an image folder, for images with `channels` channels.
    pub fn name_for_images(channels: usize) -> &'static str {
        match channels {
            1 => "digits",
            _ => "imagenet",
        }
    }

    /// The same mean and standard deviation for pixels from 0 to `scale`, which must be above 0; 255 for a [`Picture`](crate::Picture).
    #[must_use]
    pub fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Mean of each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Standard deviation of each channel.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// The largest pixel value, by which pixels are divided first.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// The normalised value of one pixel. Each of the three operations is rounded to `f32`, as in torchvision.
    ///
    /// # Panics
    /// If `channel` is not below [`Self::channels`].
    pub fn apply(&self, channel: usize, pixel: u8) -> f32 {
        (f32::from(pixel) / self.scale - self.mean[channel]) / self.std[channel]
    }

    /// The normalised values of all 256 pixel values, for each channel.
    pub(crate) fn tables(&self) -> Vec<[f32; 256]> {
        (0..self.channels()).map(|c| std::array::from_fn(|p| self.apply(c, p as u8))).collect()
    }
}

/// Means and deviations of `0.5,0.5,0.5/0.25,0.25,0.25`.
fn written_out(text: &str) -> Option<[Vec<f32>; 2]> {
    let (mean, std) = text.split_once('/')?;
    let numbers =
        |list: &str| list.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<f32>>>();
    Some([numbers(mean)?, numbers(std)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_may_be_written_out() {
        let written = Normalisation::by_name("0.485, 0.456,0.406/0.229,0.224,0.225").unwrap();
        assert_eq!(written, Normalisation::IMAGENET);
        for wrong in ["0.5/0.5,0.5", "0.5/0", "0.5/x", "/", "0.5"] {
            assert!(Normalisation::by_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_follow_the_formula() {
        // Computed in f64: (200/255 - 0.4465) / 0.2010.
        assert!(
            (f64::from(Normalisation::FEATHER.apply(2, 200)) - 1.680_665_300_946_248_9).abs()
                < 1e-6
        );
        assert_eq!(Normalisation::new(vec![0.5], vec![0.25], 16.0).unwrap().apply(0, 16), 2.0);
    }

    #[test]
    fn white_does_not_depend_on_the_pixel_range() {
        let white = Normalisation::DIGITS.apply(0, 16);
        assert_eq!(Normalisation::DIGITS.with_scale(255.0).apply(0, 255), white);
    }

    #[test]
    fn tables_agree_with_single_pixels() {
        let n = Normalisation::CIFAR100_TRUE;
        let tables = n.tables();
        assert_eq!(tables.len(), 3);
        assert_eq!(tables[1][77], n.apply(1, 77));
    }

    #[test]
    fn names_are_known_and_an_unknown_name_lists_them() {
        for name in Normalisation::NAMES {
            assert!(Normalisation::by_name(name).is_ok());
        }
        assert!(Normalisation::by_name("mnist").unwrap_err().to_string().contains("`cifar100`"));
    }

    #[test]
    fn invalid_constants_are_errors() {
        assert!(Normalisation::new(vec![], vec![], 255.0).is_err());
        assert!(Normalisation::new(vec![0.0], vec![1.0, 1.0], 255.0).is_err());
        assert!(Normalisation::new(vec![0.0], vec![0.0], 255.0).is_err());
        assert!(Normalisation::new(vec![f32::NAN], vec![1.0], 255.0).is_err());
        assert!(Normalisation::new(vec![0.0], vec![1.0], -1.0).is_err());
    }
}
