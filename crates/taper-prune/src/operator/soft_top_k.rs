//! Soft top-k: each weight is multiplied by a differentiable selection factor.

use super::{Gated, Operator};
use rayon::prelude::*;
use taper_core::{LayerInfo, Step};

/// Multiplies each kept weight by its selection factor `m = σ(β·|w| + μ)`. `μ` makes the factors of all weights of a
/// group add up to the number of kept weights. The gradient is that of this soft selection: it reaches pruned weights
/// as well. With a small β all factors are equal; with a large β the factors of kept weights are 1. β rises linearly up
/// to the step `end`. From then on factors and masks are frozen, and pruned weights receive no gradient.
///
/// # References
/// Tai, Tian and Lim, "Spartan: differentiable sparsity via regularized transportation" (arXiv:2205.14107), with equal
/// costs for all weights: regularized transport then has the closed form above.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftTopK {
    /// β at the start and at the end, above 0.
    sharpness: [f32; 2],
    /// The step from which β has its final value.
    end: Step,
    /// The frozen factors of each layer, from step `end` on.
    frozen: Option<Vec<Vec<f32>>>,
}

impl SoftTopK {
    /// A soft selection; its sharpness β rises linearly from the first value to the second until the step `end`.
    pub fn new(sharpness: [f32; 2], end: Step) -> Self {
        Self { sharpness, end, frozen: None }
    }

    /// β in a step.
    fn sharpness_at(&self, step: Step) -> f32 {
        let [begin, end] = self.sharpness;
        match step < self.end {
            true => begin + (end - begin) * (step.0 as f64 / self.end.0 as f64) as f32,
            false => end,
        }
    }

    /// The factor of every weight; 1 in layers that are left dense.
    fn parts(&self, layers: &[Gated]) -> Vec<Vec<f32>> {
        if let Some(frozen) = &self.frozen {
            return frozen.clone();
        }
        let mut parts = vec![Vec::new(); layers.len()];
        for group in groups(layers) {
            let members: Vec<&Gated> = group.iter().map(|&place| &layers[place]).collect();
            let sharpness = self.sharpness_at(members[0].step);
            for (place, found) in group.iter().zip(choice(&members, sharpness)) {
                parts[*place] = found;
            }
        }
        for (parts, layer) in parts.iter_mut().zip(layers).filter(|(_, l)| l.group.is_none()) {
            *parts = vec![1.0; layer.weights.len()];
        }
        parts
    }
}

impl Operator for SoftTopK {
    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        let parts = self.parts(layers).into_iter().zip(layers);
        let values = parts.map(|(mut parts, layer)| {
            layer.group?;
            parts.par_iter_mut().zip(layer.weights).for_each(|(part, w)| *part *= w);
            Some(parts)
        });
        values.collect()
    }

    fn begin_step(&mut self, layers: &[Gated]) {
        if self.frozen.is_none() && layers.first().is_some_and(|layer| layer.step >= self.end) {
            let mut parts = self.parts(layers);
            for (parts, layer) in parts.iter_mut().zip(layers) {
                // Pruned weights stay pruned: their factor is 0.
                let kept = |place| layer.mask.is_kept(place);
                let pruned = parts.iter_mut().enumerate().filter(|(place, _)| !kept(*place));
                pruned.for_each(|(_, part)| *part = 0.0);
            }
            self.frozen = Some(parts);
        }
    }

    fn has_backward(&self) -> bool {
        true
    }

    fn backward(&mut self, layers: &[Gated], grads: &mut [Vec<f32>]) {
        let parts = self.parts(layers);
        if self.frozen.is_none() {
            for group in groups(layers) {
                self.through_choice(&group, layers, &parts, grads);
            }
            return;
        }
        for (grad, parts) in grads.iter_mut().zip(parts) {
            grad.par_iter_mut().zip(parts).for_each(|(g, part)| *g *= part);
        }
    }

    fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    fn frozen_from(&self) -> Option<Step> {
        Some(self.end)
    }

    fn state(&self) -> Vec<f32> {
        self.frozen.iter().flatten().flatten().copied().collect()
    }

    fn restore(&mut self, state: &[f32], layers: &[&LayerInfo]) -> Result<(), String> {
        if state.is_empty() {
            self.frozen = None;
            return Ok(());
        }
        let n: u64 = layers.iter().map(|layer| layer.n_weights()).sum();
        if state.len() as u64 != n {
            return Err(format!("it has {} selection factors for {n} weights", state.len()));
        }
        let mut rest = state;
        let parts = layers.iter().map(|layer| {
            let (parts, after) = rest.split_at(layer.n_weights() as usize);
            rest = after;
            parts.to_vec()
        });
        self.frozen = Some(parts.collect());
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let is_right = self.sharpness.iter().all(|beta| *beta > 0.0 && beta.is_finite());
        match is_right {
            true => Ok(()),
            false => Err(format!(
                "sharpness is {:?}; both values must be finite and above 0",
                self.sharpness
            )),
        }
    }
}

impl SoftTopK {
    /// The gradients of a group, through the selection factors of its weights.
    ///
    /// With `G = g·w` and `u = m·(1 − m)`, the gradient of a weight is `m·g + sign(w)·β·u·(G − Σ G·u / Σ u)`. `μ`
    /// depends on all weights, which keeps the sum of the factors constant.
    fn through_choice(
        &self,
        group: &[usize],
        layers: &[Gated],
        parts: &[Vec<f32>],
        grads: &mut [Vec<f32>],
    ) {
        let sharpness = self.sharpness_at(layers[group[0]].step);
        let slope = |part: f32| part * (1.0 - part);
        let (mut weighted, mut total) = (0.0, 0.0);
        for &place in group {
            let (parts, weights, grad) = (&parts[place], layers[place].weights, &grads[place]);
            let [moved, moving] = sums(parts.len(), |i| {
                [grad[i] * weights[i] * slope(parts[i]), slope(parts[i])].map(f64::from)
            });
            (weighted, total) = (weighted + moved, total + moving);
        }
        // If every factor is 0 or 1, none of them changes.
        let mean = if total > 0.0 { (weighted / total) as f32 } else { 0.0 };
        for &place in group {
            let moving = parts[place].par_iter().zip(layers[place].weights);
            grads[place].par_iter_mut().zip(moving).for_each(|(g, (&part, &w))| {
                let sign = if w == 0.0 { 0.0 } else { w.signum() };
                *g = part * *g + sign * sharpness * slope(part) * (*g * w - mean);
            });
        }
    }
}

/// The indices of the layers of each group.
fn groups(layers: &[Gated]) -> Vec<Vec<usize>> {
    let n = layers.iter().filter_map(|layer| layer.group).max().map_or(0, |last| last + 1);
    let mut groups = vec![Vec::new(); n];
    for (place, group) in layers.iter().enumerate().filter_map(|(i, l)| Some((i, l.group?))) {
        groups[group].push(place);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// The factors of the weights of a group: `σ(β·|w| + μ)`, with the `μ` that gives the required sum.
fn choice(layers: &[&Gated], sharpness: f32) -> Vec<Vec<f32>> {
    let n_kept: u64 = layers.iter().map(|layer| layer.mask.n_kept()).sum();
    let n: usize = layers.iter().map(|layer| layer.weights.len()).sum();
    if n_kept == 0 || n_kept == n as u64 {
        let part = if n_kept == 0 { 0.0 } else { 1.0 };
        return layers.iter().map(|layer| vec![part; layer.weights.len()]).collect();
    }
    let shift = shift(layers, sharpness, n_kept as f64);
    let of_layer = |layer: &&Gated| {
        layer.weights.par_iter().map(|w| logistic(sharpness * w.abs() + shift)).collect()
    };
    layers.iter().map(of_layer).collect()
}

/// The `μ` at which the factors add up to `wanted`, to a relative error of 10⁻⁶ or to f32 precision. Newton's method
/// between two bounds; bisection replaces a step that would leave them.
fn shift(layers: &[&Gated], sharpness: f32, wanted: f64) -> f32 {
    let largest = layers.iter().flat_map(|layer| layer.weights).fold(0.0f32, |m, w| m.max(w.abs()));
    let n: usize = layers.iter().map(|layer| layer.weights.len()).sum();
    // Upper bound: μ if every weight were 0. Lower bound: μ if every weight had the largest magnitude.
    let log_odds = libm::log(wanted / (n as f64 - wanted)) as f32;
    let (mut low, mut high) = (log_odds - sharpness * largest, log_odds);
    let mut at = high - sharpness * layers[0].cut.min(largest);
    for _ in 0..60 {
        let (mut found, mut slope) = (0.0, 0.0);
        for layer in layers {
            let part = |i: usize| logistic(sharpness * layer.weights[i].abs() + at);
            let [parts, slopes] = sums(layer.weights.len(), |i| {
                let part = part(i);
                [f64::from(part), f64::from(part * (1.0 - part))]
            });
            (found, slope) = (found + parts, slope + slopes);
        }
        let excess = found - wanted;
        if excess.abs() <= 1e-6 * wanted {
            break;
        }
        if excess > 0.0 {
            high = at
        } else {
            low = at
        }
        let next = at - (excess / slope.max(f64::MIN_POSITIVE)) as f32;
        // f32 precision is reached.
        if next == at {
            break;
        }
        at = if next > low && next < high { next } else { 0.5 * (low + high) };
        if !(low < at && at < high) {
            break;
        }
    }
    at
}

/// `σ(x)`, without overflow for large `|x|`.
fn logistic(x: f32) -> f32 {
    let small = libm::expf(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// The sums of `n` pairs, in blocks of a fixed size: the result does not depend on the number of threads.
fn sums(n: usize, of: impl Fn(usize) -> [f64; 2] + Sync) -> [f64; 2] {
    const STRETCH: usize = 1 << 13;
    let add = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a + c, b + d];
    let stretches = (0..n.div_ceil(STRETCH)).into_par_iter();
    let sums: Vec<[f64; 2]> = stretches
        .map(|s| (s * STRETCH..n.min((s + 1) * STRETCH)).map(&of).fold([0.0; 2], add))
        .collect();
    sums.into_iter().fold([0.0; 2], add)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{gated, info};
    use super::*;
    use taper_kernels::mask::Mask;

    const W: [f32; 6] = [0.5, -0.9, 0.1, -0.2, 0.7, 0.05];

    /// The values of two layers of one group.
    fn values(operator: &SoftTopK, w: &[f32; 6], step: u64) -> Vec<f32> {
        let (info, masks) = (info(&[1, 3]), [0, 3].map(|i| Mask::above(&W[i..i + 3], 0.2)));
        let layers = [0, 1].map(|i| Gated {
            step: Step(step),
            ..gated(&info, &w[3 * i..3 * i + 3], &masks[i], 0.2)
        });
        operator.values(&layers).into_iter().flat_map(|values| values.unwrap()).collect()
    }

    #[test]
    fn factors_add_up_to_the_number_of_kept_weights() {
        for (step, beta) in [(0, 1.0), (40, 10.5), (80, 20.0), (99, 20.0)] {
            let operator = SoftTopK::new([1.0, 20.0], Step(80));
            assert!((operator.sharpness_at(Step(step)) - beta).abs() < 1e-5);
            let values = values(&operator, &W, step);
            let parts: Vec<f32> = values.iter().zip(W).map(|(v, w)| v / w).collect();
            assert!((parts.iter().sum::<f32>() - 3.0).abs() < 1e-4, "{parts:?}");
            // The log-odds of two factors differ by β times the difference of magnitudes.
            let odds = |i: usize| libm::logf(parts[i] / (1.0 - parts[i]));
            assert!((odds(1) - odds(2) - beta * 0.8).abs() < 2e-2, "{beta}: {parts:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let g = [0.3f32, 0.7, 5.0, -0.4, -1.0, 2.0];
        let mut operator = SoftTopK::new([8.0, 8.0], Step(80));
        let loss = |w: &[f32; 6]| -> f64 {
            values(&operator, w, 0).iter().zip(g).map(|(v, g)| f64::from(v * g)).sum()
        };
        let want = [0, 1, 2, 3, 4, 5].map(|i| {
            let at = |d: f32| {
                let mut w = W;
                w[i] += d;
                loss(&w)
            };
            (at(4e-3) - at(-4e-3)) / 8e-3
        });
        let (info, masks) = (info(&[1, 3]), [0, 3].map(|i| Mask::above(&W[i..i + 3], 0.2)));
        let layers = [0, 1].map(|i| gated(&info, &W[3 * i..3 * i + 3], &masks[i], 0.2));
        let mut grads = [g[..3].to_vec(), g[3..].to_vec()];
        operator.backward(&layers, &mut grads);
        for (got, want) in grads.iter().flatten().zip(want) {
            assert!(
                (f64::from(*got) - want).abs() < 2e-2 * want.abs().max(0.5),
                "{grads:?}, {want}"
            );
        }
    }

    #[test]
    fn factors_are_frozen_from_the_end_on() {
        let (info, mask) = (info(&[1, 6]), Mask::above(&W, 0.2));
        let mut operator = SoftTopK::new([1.0, 20.0], Step(2));
        let at = |step| Gated { step: Step(step), ..gated(&info, &W, &mask, 0.2) };
        operator.begin_step(&[at(1)]);
        assert!(operator.state().is_empty() && !operator.is_frozen());
        operator.begin_step(&[at(2)]);
        let parts = operator.state();
        assert!(parts[2] == 0.0 && parts[1] > 0.99 && operator.is_frozen());
        let mut grads = [vec![1.0f32; 6]];
        operator.backward(&[at(3)], &mut grads);
        assert_eq!(grads[0], parts);
        let mut other = SoftTopK::new([1.0, 20.0], Step(2));
        other.restore(&parts, &[&info]).unwrap();
        assert_eq!(other, operator);
        assert!(other.restore(&parts[1..], &[&info]).is_err());
        other.restore(&[], &[&info]).unwrap();
        assert!(!other.is_frozen(), "a state from before step `end`");
        let moved = W.map(|w| 2.0 * w);
        let layer = Gated { weights: &moved, ..at(3) };
        let want: Vec<f32> = parts.iter().zip(moved).map(|(part, w)| part * w).collect();
        assert_eq!(operator.values(&[layer]), [Some(want)]);
        for sharpness in [[0.0, 1.0], [1.0, f32::INFINITY]] {
            assert!(SoftTopK::new(sharpness, Step(1)).check().is_err());
        }
    }

    #[test]
    fn weights_of_zero_and_saturated_factors_have_gradients() {
        let (info, w) = (info(&[1, 4]), [0.5f32, -0.9, 0.1, 0.0]);
        let mask = Mask::above(&w, 0.2);
        let layer = gated(&info, &w, &mask, 0.2);
        let mut grads = [vec![2.0f32; 4]];
        // β is so large that all factors are 0 or 1.
        SoftTopK::new([1e4, 1e4], Step(80)).backward(&[layer], &mut grads);
        assert_eq!(grads[0], [2.0, 2.0, 0.0, 0.0]);
        // At a weight of 0 the derivative of the magnitude is taken as 0.
        let mut operator = SoftTopK::new([4.0, 4.0], Step(80));
        let part = operator.parts(&[layer])[0][3];
        operator.backward(&[layer], &mut grads);
        assert!(part > 0.01 && grads[0][3] == 0.0, "the incoming gradient is 0");
        grads[0] = vec![2.0; 4];
        operator.backward(&[layer], &mut grads);
        assert_eq!(grads[0][3], 2.0 * part);
    }

    #[test]
    fn factors_of_a_dense_layer_are_one() {
        let (info, mask, full) = (info(&[1, 6]), Mask::above(&W, 0.2), Mask::full(6));
        let pruned = Gated { step: Step(2), ..gated(&info, &W, &mask, 0.2) };
        let dense = Gated { group: None, mask: &full, cut: 0.0, ..pruned };
        let mut operator = SoftTopK::new([1.0, 20.0], Step(2));
        operator.begin_step(&[dense, pruned]);
        assert!(operator.is_frozen());
        let mut grads = [vec![0.5f32; 6], vec![0.5; 6]];
        operator.backward(&[dense, pruned], &mut grads);
        assert_eq!(grads[0], [0.5; 6]);
        assert_eq!(operator.values(&[dense, pruned])[0], None);
    }

    #[test]
    fn factors_of_a_large_layer_add_up() {
        let w: Vec<f32> = (0..20_000).map(|i| (i % 997) as f32 / 997.0).collect();
        let (info, mask) = (info(&[1, 20_000]), Mask::above(&w, 0.75));
        let parts = SoftTopK::new([20.0; 2], Step(1)).parts(&[gated(&info, &w, &mask, 0.75)]);
        let sum: f64 = parts[0].iter().map(|&part| f64::from(part)).sum();
        let wanted = mask.n_kept() as f64;
        assert!((sum - wanted).abs() < 1e-5 * wanted, "{sum} for {wanted}");
    }
}
