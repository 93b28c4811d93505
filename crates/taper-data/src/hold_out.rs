//! A validation part: training images that are held out for choices.

use crate::order::VALIDATION;
use crate::{DataError, Result, Split};
use std::collections::BTreeMap;
use taper_core::rng::Rng;

impl Split {
    /// Holds out `n` images: gives the others, and those held out, both in the order of the split.
    ///
    /// The part is stratified: of each class as large a share as of all images, up to rounding. Which images of a class
    /// are held out is drawn from a key of the class alone. So the part depends on the data and on `n`: runs of all seeds
    /// are compared on the same images, and a larger part holds every smaller one.
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
    /// [`DataError::Invalid`] if `n` is 0 or leaves no image.
    pub fn hold_out(&self, n: usize) -> Result<(Self, Self)> {
        if n == 0 || n >= self.len() {
            return Err(DataError::Invalid(format!(
                "{n} of {} training images are to be held out; it must be at least 1, and leave at least 1",
                self.len()
            )));
        }
        let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, &label) in self.labels().iter().enumerate() {
            classes.entry(label).or_default().push(index);
        }
        // The r-th image drawn of a class has the place (r + ½) / size among all images; the first n are held out.
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
        // Not the first of each class, as a file may be sorted by something else.
        assert!(validation.images().chunks(2).any(|image| image[0] > 30));
    }

    #[test]
    fn a_larger_part_holds_a_smaller_one_and_the_data_decide_alone() {
        let [digits, _] = digits::splits().unwrap();
        let part = |n| digits.hold_out(n).unwrap().1;
        assert_eq!(part(100), part(100));
        for (n, more) in [(1, 2), (99, 100), (100, 700), (700, 1441)] {
            let (small, large) = (part(n), part(more));
            assert_eq!((small.len(), large.len()), (n, more));
            let large: Vec<&[u8]> = large.images().chunks(64).collect();
            assert!(small.images().chunks(64).all(|image| large.contains(&image)));
        }
        // As equal as ten classes of unequal size can be.
        let counts = counts(&part(144), 10);
        assert!(counts.iter().all(|n| (13..=16).contains(n)), "{counts:?}");
    }

    #[test]
    fn nothing_and_everything_are_refused() {
        let whole = split(&[0, 1, 0]);
        for n in [0, 3, usize::MAX] {
            let error = whole.hold_out(n).unwrap_err().to_string();
            assert!(error.contains(&format!("{n} of 3")), "{error}");
        }
        assert_eq!(whole.hold_out(2).unwrap().0.len(), 1);
    }
}
