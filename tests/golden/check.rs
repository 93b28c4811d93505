//! Comparisons of a test: `Check` records the worst deviation of each quantity and reports all failures at the end.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Debug};

/// How many failures are printed in full.
const N_SHOWN: usize = 12;

/// The comparisons of one test.
pub(crate) struct Check {
    test: &'static str,
    worst: BTreeMap<&'static str, (f64, String)>,
    failures: Vec<String>,
    n_compared: u64,
}

impl Check {
    /// No comparisons yet.
    pub(crate) fn new(test: &'static str) -> Self {
        Self { test, worst: BTreeMap::new(), failures: Vec::new(), n_compared: 0 }
    }

    /// `|got - want| <= tolerance`; NaN fails.
    pub(crate) fn within(
        &mut self,
        quantity: &'static str,
        place: Arguments,
        got: f64,
        want: f64,
        tolerance: f64,
    ) {
        self.n_compared += 1;
        let deviation = if got == want { 0.0 } else { (got - want).abs() };
        let share = if deviation == 0.0 { 0.0 } else { deviation / tolerance };
        let worst = self.worst.entry(quantity).or_insert_with(|| (-1.0, String::new()));
        if share.is_nan() || share > worst.0 {
            *worst = (share, format!("{place}: {got:e} for {want:e}"));
        }
        if deviation.is_nan() || deviation > tolerance {
            self.failures.push(format!(
                "{place}: {quantity} is {got:e}, but should be {want:e} within {tolerance:.3e}"
            ));
        }
    }

    /// `|got - want| <= tolerance * |want|`.
    pub(crate) fn relative(
        &mut self,
        quantity: &'static str,
        place: Arguments,
        got: f64,
        want: f64,
        tolerance: f64,
    ) {
        self.within(quantity, place, got, want, tolerance * want.abs());
    }

    /// `got == want`.
    pub(crate) fn equal<T: PartialEq + Debug>(
        &mut self,
        quantity: &'static str,
        place: Arguments,
        got: T,
        want: T,
    ) {
        self.n_compared += 1;
        if got != want {
            self.failures
                .push(format!("{place}: {quantity} is {got:?}, but should be exactly {want:?}"));
        }
    }

    /// Two lists, value by value: bit-identical except for the sign of zero.
    pub(crate) fn same_values(
        &mut self,
        quantity: &'static str,
        place: Arguments,
        got: &[f32],
        want: &[f32],
    ) {
        self.equal(quantity, format_args!("{place}, length"), got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            self.equal(quantity, format_args!("{place}[{i}]"), got, want);
        }
    }

    /// Prints the worst deviation of each quantity.
    ///
    /// # Panics
    /// If a comparison failed, or nothing was compared.
    pub(crate) fn finish(self) {
        let Self { test, worst, failures, n_compared } = self;
        for (quantity, (share, place)) in worst {
            println!(
                "{test}: {quantity}: at worst {:.2} % of the tolerance ({place})",
                100.0 * share
            );
        }
        println!("{test}: {n_compared} comparisons");
        assert!(n_compared > 0, "{test}: nothing was compared");
        if !failures.is_empty() {
            let shown =
                failures.iter().take(N_SHOWN).map(|f| format!("\n  {f}")).collect::<String>();
            panic!("{test}: {} of {n_compared} comparisons failed:{shown}", failures.len());
        }
    }
}

/// Neumaier's compensated sum: rounding errors of the additions do not accumulate.
pub(crate) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0f64, 0.0);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

/// Square root of the sum of squares, in f64.
pub(crate) fn l2(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// `|got - want| / |want|` in the L2 norm; infinite if the lengths differ.
pub(crate) fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let squares =
        got.iter().zip(want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).powi(2)).sum::<f64>();
    if squares == 0.0 { 0.0 } else { squares.sqrt() / l2(want) }
}

/// Cosine similarity of two lists.
pub(crate) fn cosine(got: &[f32], want: &[f32]) -> f64 {
    let product = got.iter().zip(want).map(|(&g, &w)| f64::from(g) * f64::from(w)).sum::<f64>();
    product / (l2(got) * l2(want))
}

/// The largest magnitude of a difference, and the largest magnitude in `want`.
pub(crate) fn max_difference(got: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(got.len(), want.len(), "lists differ in length");
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |max: f64, v| if v.is_nan() { f64::NAN } else { max.max(v) })
    };
    let difference =
        largest(&mut got.iter().zip(want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).abs()));
    (difference, largest(&mut want.iter().map(|&w| f64::from(w).abs())))
}
