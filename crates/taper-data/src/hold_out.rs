//! Held-out training images, for validation.

use crate::order::VALIDATION;
use crate::{DataError, Result, Split};
use std::collections::BTreeMap;
use taper_core::rng::Rng;

impl Split {
    /// Splits off `n` images for validation. Returns the remaining images and the held-out images, both in the order of
    /// the split.
    ///
    /// The held-out part is stratified: it has the same fraction of each class, up to rounding. Its images are chosen
    /// at random with a key of the class. So they depend only on the data and on `n`, not on a seed: all runs use the
    /// same validation images, and a larger part contains every smaller one.
    ///
    /// ```
    /// # use taper_data::{Dataset, OpenOptions};
    /// let data = Dataset::open("digits", &OpenOptions::default())?;
    /// let (train, validation) = data.train.hold_out(142)?;
    /// assert_eq!((train.len(), validation.len()), (1300, 142));
    /// # Ok::<(), taper_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Invalid`] if `n` is 0, or no image would remain.
    pub fn hold_out(&self, n: usize) -> Result<(Self, Self)> {
        if n == 0 || n >= self.len() {
            return Err(DataError::Invalid(format!(
                "cannot hold out {n} of {} training images; hold out at least 1 and keep at least 1",
                self.len()
            )));
        }
        let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, &label) in self.labels().iter().enumerate() {
            classes.entry(label).or_default().push(index);
        }
        // The r-th image in the random order of a class has the position (r + ½) / (size of the class). The n images
        // with the lowest positions are held out.
        let mut order = Vec::with_capacity(self.len());
        for (&label, images) in &classes {
            let drawn = Rng::for_key([label.into(), VALIDATION]).permutation(images.len());
            let place = |rank: usize| (rank as f64 + 0.5) / images.len() as f64;
            order
                .extend(drawn.iter().enumerate().map(|(rank, &i)| (place(rank), label, images[i])));
        }
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut is_held_out = vec![false; self.len()];
        order[..n].iter().for_each(|&(.., index)| is_held_out[index] = true);
        Ok((self.filtered(|index| !is_held_out[index]), self.filtered(|index| is_held_out[index])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageShape, digits};

    /// Image `i` is `[i, 0]` with label `labels[i]` and coarse label `labels[i] / 2`.
    fn split(labels: &[u32]) -> Split {
        let shape = ImageShape { channels: 1, height: 1, width: 2 };
        let images = (0..labels.len()).flat_map(|i| [i as u8, 0]).collect();
        let coarse = labels.iter().map(|label| label / 2).collect();
        Split::new(shape, images, labels.to_vec(), Some(coarse)).unwrap()
    }

    fn counts(split: &Split, n_classes: usize) -> Vec<usize> {
        let of = |class| split.labels().iter().filter(|&&label| label as usize == class).count();
        (0..n_classes).map(of).collect()
    }

    #[test]
    fn parts_are_stratified_complete_and_in_order() {
        // 30, 20 and 10 images.
        let labels: Vec<u32> = (0..60).map(|i| [0, 0, 0, 1, 1, 2][i % 6]).collect();
        let whole = split(&labels);
        let (train, validation) = whole.hold_out(12).unwrap();
        assert_eq!((counts(&train, 3), counts(&validation, 3)), (vec![24, 16, 8], vec![6, 4, 2]));
        let mut seen = Vec::new();
        for part in [&train, &validation] {
            let images: Vec<u8> = part.images().chunks(2).map(|image| image[0]).collect();
            assert!(images.is_sorted());
            for (i, &image) in images.iter().enumerate() {
                let label = labels[usize::from(image)];
                assert_eq!((part.labels()[i], part.coarse().unwrap()[i]), (label, label / 2));
            }
            seen.extend(images);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..60).collect::<Vec<_>>());
        // Not simply the first images of each class, because the file may be sorted by another property.
        assert!(validation.images().chunks(2).any(|image| image[0] > 30));
    }

    #[test]
    fn a_larger_part_contains_a_smaller_one_and_the_choice_is_reproducible() {
        let [digits, _] = digits::splits().unwrap();
        let part = |n| digits.hold_out(n).unwrap().1;
        assert_eq!(part(100), part(100));
        for (n, more) in [(1, 2), (99, 100), (100, 700), (700, 1441)] {
            let (small, large) = (part(n), part(more));
            assert_eq!((small.len(), large.len()), (n, more));
            let large: Vec<&[u8]> = large.images().chunks(64).collect();
            assert!(small.images().chunks(64).all(|image| large.contains(&image)));
        }
        // The ten classes have slightly different sizes.
        let counts = counts(&part(144), 10);
        assert!(counts.iter().all(|n| (13..=16).contains(n)), "{counts:?}");
    }

    #[test]
    fn holding_out_no_image_or_all_images_is_an_error() {
        let whole = split(&[0, 1, 0]);
        for n in [0, 3, usize::MAX] {
            let error = whole.hold_out(n).unwrap_err().to_string();
            assert!(error.contains(&format!("{n} of 3")), "{error}");
        }
        assert_eq!(whole.hold_out(2).unwrap().0.len(), 1);
    }
}
