//! Probabilities, top classes and loss from the outputs of a classifier.

use libm::{exp, log};

/// Softmax of logits.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = largest(logits);
    let heights: Vec<f64> = logits.iter().map(|&z| exp(f64::from(z) - largest)).collect();
    let sum: f64 = heights.iter().sum();
    heights.iter().map(|height| height / sum).collect()
}

/// Indices of the `n` largest scores, in descending order. Ties go to the lower index.
pub fn top(scores: &[f64], n: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    places.truncate(n);
    places
}

/// Whether the largest logit is at the label. Ties go to the lower index.
pub fn is_correct(logits: &[f32], label: usize) -> bool {
    let scores: Vec<f64> = logits.iter().map(|&z| f64::from(z)).collect();
    top(&scores, 1) == [label]
}

/// Cross-entropy of logits with a label. The label must be less than the number of logits.
pub fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = largest(logits);
    let sum: f64 = logits.iter().map(|&z| exp(f64::from(z) - largest)).sum();
    largest + log(sum) - f64::from(logits[label])
}

/// Cross-entropy of probabilities with a label. The label must be less than their number. A probability of 0, to which
/// `f32` rounds the softmax of distant logits, counts as the smallest normal number.
pub fn log_loss(probabilities: &[f32], label: usize) -> f64 {
    let probability = match probabilities[label] {
        0.0 => f32::MIN_POSITIVE,
        probability => probability,
    };
    -log(f64::from(probability))
}

fn largest(logits: &[f32]) -> f64 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_equal_softmax_for_any_shift_of_the_logits() {
        for shift in [0.0, 1000.0, -1000.0] {
            let found = probabilities(&[shift, shift + log(3.0) as f32, shift]);
            for (found, wanted) in found.iter().zip([0.2, 0.6, 0.2]) {
                assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
            }
        }
    }

    #[test]
    fn the_largest_come_first_and_equal_ones_in_order() {
        assert_eq!(top(&[0.1, 0.4, 0.1, 0.4], 3), [1, 3, 0]);
        assert_eq!(top(&[0.5, 0.5], 5), [0, 1]);
        assert!(is_correct(&[0.0, 3.0, 3.0], 1) && !is_correct(&[0.0, 3.0, 3.0], 2));
    }

    #[test]
    fn cross_entropy_is_minus_the_logarithm_of_the_probability() {
        let logits = [1.5, -0.5, 0.25];
        for (label, probability) in probabilities(&logits).into_iter().enumerate() {
            assert!((cross_entropy(&logits, label) + log(probability)).abs() < 1e-12);
            assert!((log_loss(&[probability as f32], 0) + log(probability)).abs() < 1e-6);
        }
        assert!((cross_entropy(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
        assert!((log_loss(&[1.0, 0.0], 1) - 126.0 * log(2.0)).abs() < 1e-9);
        assert!(log_loss(&[f32::NAN, 0.0], 0).is_nan());
    }
}
