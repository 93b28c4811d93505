//! The embedded data set: 1,797 handwritten digits of 8 × 8 pixels, from the test part of *Optical Recognition of
//! Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, CC BY 4.0,
//! <https://doi.org/10.24432/C50P49>.

use crate::{ImageShape, Result, Split};

/// Records in the order of the original file: a label byte (0 to 9), then 64 pixels (0 to 16).
const RECORDS: &[u8] = include_bytes!("../assets/digits.bin");

const RECORD: usize = 1 + 64;

/// One of this many images of each class goes to the test part.
const TEST_EVERY: usize = 5;

/// The training part (1,442 images) and the test part (355 images). In the order of the file, images 4, 9, 14, ... of
/// each class (counted from 0) are test images: 20 % of every class.
pub(crate) fn splits() -> Result<[Split; 2]> {
    let mut seen = [0usize; 256];
    let mut parts = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for record in RECORDS.chunks_exact(RECORD) {
        let (label, pixels) = (record[0], &record[1..]);
        let nth = &mut seen[usize::from(label)];
        let part = usize::from(*nth % TEST_EVERY == TEST_EVERY - 1);
        *nth += 1;
        parts[part].0.extend_from_slice(pixels);
        parts[part].1.push(u32::from(label));
    }
    let [train, test] = parts;
    Ok([
        Split::new(ImageShape::DIGITS, train.0, train.1, None)?,
        Split::new(ImageShape::DIGITS, test.0, test.1, None)?,
    ])
}

/// Names of the ten classes.
pub(crate) fn class_names() -> Vec<String> {
    (0..10).map(|d| d.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Normalisation;

    fn per_class(split: &Split) -> [usize; 10] {
        let mut n = [0; 10];
        split.labels().iter().for_each(|&l| n[l as usize] += 1);
        n
    }

    #[test]
    fn the_asset_is_complete() {
        assert_eq!(RECORDS.len(), 1797 * RECORD);
        let [train, test] = splits().unwrap();
        assert!(train.images().iter().chain(test.images()).all(|&p| p <= 16));
        // The first image of the original file is a zero that starts 0,0,5,13,9,1.
        assert_eq!((train.labels()[0], &train.images()[..6]), (0, &[0, 0, 5, 13, 9, 1][..]));
    }

    #[test]
    fn the_split_is_stratified() {
        let [train, test] = splits().unwrap();
        assert_eq!((train.len(), test.len()), (1442, 355));
        let (a, b) = (per_class(&train), per_class(&test));
        let whole: [usize; 10] = std::array::from_fn(|c| a[c] + b[c]);
        assert_eq!(whole, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(b, whole.map(|n| n / 5));
    }

    #[test]
    fn the_normalisation_was_measured_on_the_training_part() {
        let [train, _] = splits().unwrap();
        let values: Vec<f64> = train.images().iter().map(|&p| f64::from(p) / 16.0).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!((f64::from(Normalisation::DIGITS.mean()[0]) - mean).abs() < 1e-7);
        assert!((f64::from(Normalisation::DIGITS.std()[0]) - std).abs() < 1e-7);
    }
}
