//! Cross-entropy loss of class scores (logits), and its gradient.
//!
//! ```text
//! loss = mean over images of  log Σ exp(x) − (1 − ε)·x[label] − ε·mean(x)
//! ```
//!
//! Computed in f64, class by class and image by image. The exponential and the logarithm come from the crate `libm`
//! instead of the platform's library: results are bit-identical on every machine.

use crate::{sizes::product, tree};
use rayon::prelude::*;

/// Logits of a batch with their labels.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// `[image, class]`.
    pub logits: &'a [f32],
    /// The class of each image, below `classes`.
    pub labels: &'a [u32],
    /// Number of classes.
    pub classes: usize,
    /// ε, label smoothing: the fraction of the target that is spread evenly over all classes, in `[0, 1)`.
    pub smoothing: f64,
}

impl Scores<'_> {
    /// The mean loss over images; NaN if there are no images.
    ///
    /// ```
    /// use taper_kernels::loss::Scores;
    /// let scores = Scores { logits: &[0.0, 0.0], labels: &[1], classes: 2, smoothing: 0.0 };
    /// assert_eq!(scores.loss() as f32, std::f32::consts::LN_2);
    /// ```
    ///
    /// # Panics
    /// If there is not one logit per image and class, or a label is not below `classes`.
    pub fn loss(&self) -> f64 {
        self.check();
        let of_image = |(x, &label): (&[f32], &u32)| {
            let (largest, sum) = exponentials(x);
            let target = (1.0 - self.smoothing) * f64::from(x[label as usize]);
            let even = match self.smoothing > 0.0 {
                true => x.iter().map(|&x| f64::from(x)).sum::<f64>() / self.classes as f64,
                false => 0.0,
            };
            largest + libm::log(sum) - target - self.smoothing * even
        };
        let images = self.logits.par_chunks(self.classes.max(1)).zip(self.labels);
        let losses: Vec<f64> = images.with_min_len(IMAGES).map(of_image).collect();
        tree::merge(losses, |left, right| left + right).unwrap_or(0.0) / self.labels.len() as f64
    }

    /// The gradient of `upstream·loss`: `upstream/images·(softmax(x) − target)`.
    ///
    /// # Panics
    /// As [`loss`](Self::loss), or if `grad` does not have one value per logit.
    pub fn gradient(&self, upstream: f32, grad: &mut [f32]) {
        self.check();
        assert_eq!(grad.len(), self.logits.len(), "one gradient per logit");
        let factor = f64::from(upstream) / self.labels.len() as f64;
        let even = self.smoothing / self.classes as f64;
        let classes = self.classes.max(1);
        let images = grad.par_chunks_mut(classes).zip(self.logits.par_chunks(classes));
        images.zip(self.labels).with_min_len(IMAGES).for_each(|((grad, x), &label)| {
            let (largest, sum) = exponentials(x);
            for (class, (grad, &x)) in grad.iter_mut().zip(x).enumerate() {
                let target = if class == label as usize { 1.0 - self.smoothing } else { 0.0 };
                let share = libm::exp(f64::from(x) - largest) / sum;
                *grad = (factor * (share - target - even)) as f32;
            }
        });
    }

    fn check(&self) {
        let n = product([self.labels.len(), self.classes]);
        assert_eq!(self.logits.len(), n, "one logit per image and class");
        let largest = self.labels.iter().max().map_or(0, |&label| label as usize);
        assert!(
            self.labels.is_empty() || largest < self.classes,
            "label {largest} is outside of the classes 0..{}",
            self.classes
        );
    }
}

/// Minimum images per task.
const IMAGES: usize = 8;

/// The largest logit, and the sum of `exp(x − largest)`, which is NaN if a logit is.
fn exponentials(x: &[f32]) -> (f64, f64) {
    let largest =
        x.iter().fold(f32::NEG_INFINITY, |largest, &x| if x > largest { x } else { largest });
    let largest = f64::from(largest);
    (largest, x.iter().map(|&x| libm::exp(f64::from(x) - largest)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [1.0, 0.0, -1.0, 100.0, 90.0, 101.0];

    fn scores(smoothing: f64) -> Scores<'static> {
        Scores { logits: &LOGITS, labels: &[0, 1], classes: 3, smoothing }
    }

    #[test]
    fn the_loss_by_hand() {
        let e = std::f64::consts::E;
        let first = (e + 1.0 + 1.0 / e).ln() - 1.0;
        let second = 11.0 + (1.0 + (-1.0f64).exp() + (-11.0f64).exp()).ln();
        assert!((scores(0.0).loss() - (first + second) / 2.0).abs() < 1e-12);
        // In the evenly spread part of the target, the mean replaces the label's logit.
        let even = (first + 1.0 + second + 90.0 - 97.0) / 2.0;
        let smooth = 0.7 * (first + second) / 2.0 + 0.3 * even;
        assert!((scores(0.3).loss() - smooth).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        for smoothing in [0.0, 0.3] {
            let mut grad = [9.0; 6];
            scores(smoothing).gradient(2.0, &mut grad);
            for i in 0..6 {
                let at = |h: f32| {
                    let mut logits = LOGITS;
                    logits[i] += h;
                    Scores { logits: &logits, ..scores(smoothing) }.loss()
                };
                // A step that adds to each logit without rounding.
                let step = 1.0 / 64.0;
                let want = f64::from(1.0 / step) * (at(step) - at(-step));
                assert!((f64::from(grad[i]) - want).abs() < 1e-4, "{i}: {} {want}", grad[i]);
            }
        }
    }

    #[test]
    fn non_finite_values_propagate() {
        for bad in [f32::NAN, f32::INFINITY] {
            let scores = Scores { logits: &[0.0, bad], labels: &[0], classes: 2, smoothing: 0.0 };
            assert!(!scores.loss().is_finite());
            let mut grad = [0.0; 2];
            scores.gradient(1.0, &mut grad);
            assert!(grad.iter().all(|g| g.is_nan()), "{grad:?}");
        }
    }

    #[test]
    #[should_panic(expected = "label 3 is outside of the classes 0..3")]
    fn a_label_without_a_class_is_refused() {
        Scores { labels: &[0, 3], ..scores(0.0) }.loss();
    }

    #[test]
    fn its_bits_are_these() {
        let mut grad = [0.0; 6];
        scores(0.1).gradient(1.0, &mut grad);
        let found = (scores(0.1).loss().to_bits(), grad.map(f32::to_bits));
        assert_eq!(found.0, 0x4016_3de3_f71a_6f71);
        let grad = [0xbe09_4367, 0x3dd8_77f8, 0x3ce8_3b5d, 0x3df1_4263, 0xbeee_ee22, 0x3eb2_9d89];
        assert_eq!(found.1, grad);
    }
}
