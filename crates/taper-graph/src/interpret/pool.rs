//! Max and average pooling.

use crate::Window;

/// The largest pixel of each window; −∞ for a window that covers padding only.
pub(crate) fn largest<T: Copy + Into<f64>>(
    plane: &[T],
    from: [usize; 2],
    window: &Window,
    to: [usize; 2],
) -> Vec<f64> {
    each(plane, from, window, to, |pixels| pixels.fold(f64::NEG_INFINITY, larger))
}

/// The mean of each window; NaN for a window that covers only padding that does not count.
pub(crate) fn means<T: Copy + Into<f64>>(
    plane: &[T],
    from: [usize; 2],
    window: &Window,
    to: [usize; 2],
    counts_padding: bool,
) -> Vec<f64> {
    let taps = window.kernel[0] as f64 * window.kernel[1] as f64;
    each(plane, from, window, to, |pixels| {
        let (sum, n) = pixels.fold((0.0, 0.0), |(sum, n), x| (sum + x, n + 1.0));
        sum / if counts_padding { taps } else { n }
    })
}

/// The mean of a plane.
pub(crate) fn mean<T: Copy + Into<f64>>(plane: &[T]) -> f64 {
    plane.iter().fold(0.0, |sum, &x| sum + x.into()) / plane.len() as f64
}

/// The largest pixel of a plane.
pub(crate) fn maximum<T: Copy + Into<f64>>(plane: &[T]) -> f64 {
    plane.iter().fold(f64::NEG_INFINITY, |most, &x| larger(most, x.into()))
}

fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// Applies a function to the pixels of each window, without padding.
fn each<T: Copy + Into<f64>>(
    plane: &[T],
    from: [usize; 2],
    window: &Window,
    to: [usize; 2],
    f: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
) -> Vec<f64> {
    let places = (0..to[0]).flat_map(|row| (0..to[1]).map(move |column| (row, column)));
    let values = places.map(|(row, column)| {
        let mut pixels = window.pixels(0, row, from[0]).flat_map(|y| {
            window.pixels(1, column, from[1]).map(move |x| plane[y * from[1] + x].into())
        });
        f(&mut pixels)
    });
    values.collect()
}
