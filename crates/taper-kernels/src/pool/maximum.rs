//! Maximum pooling.

use super::{begin, each_channel};
use crate::lanes::{Lanes, Plane, floats};

/// Windows of maximum pooling: `size × size` pixels, `stride` apart. The plane has `padding` pixels around it, which
/// are never the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxWindows {
    /// Rows and columns of a window, at least 1.
    pub size: usize,
    /// Pixels from one window to the next, at least 1.
    pub stride: usize,
    /// Pixels around the plane, at most half of `size`.
    pub padding: usize,
}

impl MaxWindows {
    /// Sizes of the result. `None` if a window does not fit or could have no pixels: if the plane has none, or if a
    /// window could lie in the padding alone.
    pub fn output(&self, input: &Plane) -> Option<Plane> {
        let Self { size, stride, padding } = *self;
        let along = |n: usize| {
            Some(padding.checked_mul(2)?.checked_add(n)?.checked_sub(size)? / stride + 1)
        };
        let has_pixels = input.height > 0 && input.width > 0 && padding <= size / 2;
        if size == 0 || stride == 0 || !has_pixels {
            return None;
        }
        Some(Plane { height: along(input.height)?, width: along(input.width)?, ..*input })
    }

    /// The rows or columns of a plane with `n` of them that window `i` covers.
    fn covers(&self, i: usize, n: usize) -> std::ops::Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + self.size).saturating_sub(self.padding).min(n)
    }

    fn expect_output(&self, input: &Plane) -> Plane {
        self.output(input).unwrap_or_else(|| panic!("{self:?} does not fit {input:?}"))
    }
}

/// Largest pixels of the windows; NaN where a window contains NaN.
///
/// # Panics
/// If a length or the windows do not fit.
pub fn maximum(input: &Plane, windows: MaxWindows, x: &[Lanes], out: &mut [Lanes]) {
    let output = windows.expect_output(input);
    assert!(x.len() == input.len() && out.len() == output.len(), "pooling of {input:?}");
    if out.is_empty() {
        return;
    }
    begin(out, false);
    each_channel(&output, out, |image, channel, out, to| {
        let from = input.channel(image, channel);
        for y in 0..output.height {
            for column in 0..output.width {
                let mut best = f32::NEG_INFINITY;
                for row in windows.covers(y, input.height) {
                    for x_column in windows.covers(column, input.width) {
                        let v = floats(x)[from.at(row, x_column)];
                        best = if is_larger(v, best) { v } else { best };
                    }
                }
                out[to.at(y, column)] = best;
            }
        }
    });
}

/// Gradient of the input: the first largest pixel of a window gets the gradient of the window.
///
/// # Panics
/// If a length or the windows do not fit.
pub fn maximum_grad(
    input: &Plane,
    windows: MaxWindows,
    x: &[Lanes],
    grad: &[Lanes],
    grad_x: &mut [Lanes],
    is_added: bool,
) {
    let output = windows.expect_output(input);
    assert!(x.len() == input.len() && grad_x.len() == input.len(), "pooling of {input:?}");
    assert!(grad.len() == output.len(), "pooling of {input:?}");
    if grad_x.is_empty() {
        return;
    }
    begin(grad_x, is_added);
    each_channel(input, grad_x, |image, channel, grad_x, to| {
        let (from, of_grad) = (input.channel(image, channel), output.channel(image, channel));
        for y in 0..output.height {
            for column in 0..output.width {
                let mut best = None;
                for row in windows.covers(y, input.height) {
                    for x_column in windows.covers(column, input.width) {
                        let v = floats(x)[from.at(row, x_column)];
                        if best.is_none_or(|(_, most)| is_larger(v, most)) {
                            best = Some(((row, x_column), v));
                        }
                    }
                }
                if let Some(((row, x_column), _)) = best {
                    grad_x[to.at(row, x_column)] += floats(grad)[of_grad.at(y, column)];
                }
            }
        }
    });
}

fn is_larger(v: f32, best: f32) -> bool {
    v > best || (v.is_nan() && !best.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{from_nchw, to_nchw};

    #[test]
    fn largest_pixels_and_their_gradient() {
        let input = Plane { batch: 17, channels: 2, height: 4, width: 5 };
        let windows = MaxWindows { size: 3, stride: 2, padding: 1 };
        let output = windows.output(&input).unwrap();
        assert_eq!((output.height, output.width), (2, 3));
        let n = 17 * 40;
        let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 23) as f32 - 11.0) * 0.5).collect();
        let mut x = vec![Lanes::ZERO; input.len()];
        from_nchw(&input, &values, &mut x);
        let mut out = vec![Lanes([9.0; 16]); output.len()];
        maximum(&input, windows, &x, &mut out);
        let mut found = vec![0.0; 17 * 12];
        to_nchw(&output, &out, &mut found);
        let upstream: Vec<f32> = (0..found.len()).map(|i| 1.0 + i as f32).collect();
        let mut grad = vec![Lanes::ZERO; output.len()];
        from_nchw(&output, &upstream, &mut grad);
        let mut grad_x = vec![Lanes([9.0; 16]); input.len()];
        maximum_grad(&input, windows, &x, &grad, &mut grad_x, false);
        let mut got = vec![0.0; n];
        to_nchw(&input, &grad_x, &mut got);

        let mut want = vec![0.0f32; n];
        for i in 0..found.len() {
            let (plane, y, column) = (i / 6, i / 3 % 2, i % 3);
            let mut best = None;
            for row in (2 * y).saturating_sub(1)..(2 * y + 2).min(4) {
                for at in (2 * column).saturating_sub(1)..(2 * column + 2).min(5) {
                    let at = plane * 20 + row * 5 + at;
                    if best.is_none_or(|best: usize| values[at] > values[best]) {
                        best = Some(at);
                    }
                }
            }
            let best = best.unwrap();
            assert_eq!(found[i], values[best], "window {i}");
            want[best] += upstream[i];
        }
        assert_eq!(got, want);
        maximum_grad(&input, windows, &x, &grad, &mut grad_x, true);
        to_nchw(&input, &grad_x, &mut got);
        assert_eq!(got, want.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
        // NaN propagates, and a window of −∞ has a gradient too.
        x[0].0[0] = f32::NAN;
        maximum(&input, windows, &x, &mut out);
        assert!(out[0].0[0].is_nan());
        x.fill(Lanes([f32::NEG_INFINITY; 16]));
        maximum_grad(&input, windows, &x, &grad, &mut grad_x, false);
        assert_eq!(grad_x[0].0[0], 1.0);
        assert!(MaxWindows { padding: 2, ..windows }.output(&input).is_none());
        assert!(MaxWindows { size: 7, padding: 0, ..windows }.output(&input).is_none());
        assert!(MaxWindows { size: 2, ..windows }.output(&Plane { height: 0, ..input }).is_none());
    }
}
