//! Average and maximum pooling in the blocked layout.

use crate::{
    lanes::{LANES, Lanes, Plane},
    sizes::product,
};
use rayon::prelude::*;

/// Windows of `size × size` pixels, `size` apart; rows and columns that fill no window are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of a window, at least 1.
    pub size: (usize, usize),
}

impl Windows {
    /// Sizes of the result.
    pub fn output(&self, input: &Plane) -> Plane {
        Plane { height: input.height / self.size.0, width: input.width / self.size.1, ..*input }
    }

    fn share(&self) -> f32 {
        1.0 / product([self.size.0, self.size.1]) as f32
    }
}

/// Means of the windows.
///
/// # Panics
/// If a length does not fit.
pub fn average(input: &Plane, windows: Windows, x: &[Lanes], out: &mut [Lanes]) {
    let output = windows.output(input);
    assert!(x.len() == input.len() && out.len() == output.len(), "pooling of {input:?}");
    if out.is_empty() {
        return;
    }
    let ((rows, cols), share) = (windows.size, windows.share());
    out.par_chunks_mut(output.row()).enumerate().for_each(|(i, out)| {
        let (block, y) = (i / output.height, i % output.height);
        for (c, out) in out.chunks_mut(output.width).enumerate() {
            out.fill(Lanes::ZERO);
            for row in y * rows..(y + 1) * rows {
                let start = block * input.block() + row * input.row() + c * input.width;
                let x = x[start..start + input.width].chunks_exact(cols);
                for (out, window) in out.iter_mut().zip(x) {
                    for pixel in window {
                        for lane in 0..LANES {
                            out.0[lane] += pixel.0[lane];
                        }
                    }
                }
            }
            for out in out {
                out.0.iter_mut().for_each(|v| *v *= share);
            }
        }
    });
}

/// Gradient of the input: each pixel of a window gets an equal share, those left out nothing.
///
/// # Panics
/// If a length does not fit.
pub fn average_grad(
    input: &Plane,
    windows: Windows,
    grad: &[Lanes],
    grad_x: &mut [Lanes],
    is_added: bool,
) {
    let output = windows.output(input);
    assert!(grad_x.len() == input.len() && grad.len() == output.len(), "pooling of {input:?}");
    if grad_x.is_empty() {
        return;
    }
    let ((rows, cols), share) = (windows.size, windows.share());
    grad_x.par_chunks_mut(input.row()).enumerate().for_each(|(i, grad_x)| {
        let (block, y) = (i / input.height, i % input.height / rows);
        if !is_added {
            grad_x.fill(Lanes::ZERO);
        }
        if y >= output.height {
            return;
        }
        for (c, grad_x) in grad_x.chunks_mut(input.width).enumerate() {
            let start = block * output.block() + y * output.row() + c * output.width;
            let windows = grad_x.chunks_exact_mut(cols).zip(&grad[start..start + output.width]);
            for (window, grad) in windows {
                for pixel in window {
                    for lane in 0..LANES {
                        pixel.0[lane] += grad.0[lane] * share;
                    }
                }
            }
        }
    });
}

/// Means of planes of `pixels` values each, in NCHW: summed in f64, in their order.
///
/// # Panics
/// If there is not a mean for each plane, or there are no pixels.
pub fn plane_means(pixels: usize, x: &[f32], out: &mut [f32]) {
    assert!(pixels > 0 && x.len() == product([out.len(), pixels]), "planes of {pixels} pixels");
    for (out, plane) in out.iter_mut().zip(x.chunks_exact(pixels)) {
        let sum: f64 = plane.iter().map(|&v| f64::from(v)).sum();
        *out = (sum / pixels as f64) as f32;
    }
}

/// Windows whose largest pixel counts: `size × size` pixels, `stride` apart, over a plane with `padding` pixels around it
/// that never are the largest.
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
    /// Sizes of the result; `None` if a window does not fit, or could have no pixels: if the plane has none, or the
    /// padding alone fills one.
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
        self.output(input).unwrap_or_else(|| panic!("{self:?} over {input:?}"))
    }
}

/// Largest pixels of the windows; NaN where a window has one.
///
/// # Panics
/// If a length does not fit, or the windows do not.
pub fn maximum(input: &Plane, windows: MaxWindows, x: &[Lanes], out: &mut [Lanes]) {
    let output = windows.expect_output(input);
    assert!(x.len() == input.len() && out.len() == output.len(), "pooling of {input:?}");
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(output.row()).enumerate().for_each(|(i, out)| {
        let (block, y) = (i / output.height, i % output.height);
        for (c, out) in out.chunks_mut(output.width).enumerate() {
            for (column, out) in out.iter_mut().enumerate() {
                *out = Lanes([f32::NEG_INFINITY; LANES]);
                for row in windows.covers(y, input.height) {
                    let start = block * input.block() + row * input.row() + c * input.width;
                    for pixel in &x[start..][windows.covers(column, input.width)] {
                        for lane in 0..LANES {
                            let v = pixel.0[lane];
                            out.0[lane] = if is_larger(v, out.0[lane]) { v } else { out.0[lane] };
                        }
                    }
                }
            }
        }
    });
}

/// Gradient of the input: the first of the largest pixels of a window gets that of the window.
///
/// # Panics
/// If a length does not fit, or the windows do not.
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
    // Windows overlap within a block alone.
    let blocks = grad_x.par_chunks_mut(input.block()).zip(x.par_chunks(input.block()));
    blocks.zip(grad.par_chunks(output.block())).for_each(|((grad_x, x), grad)| {
        if !is_added {
            grad_x.fill(Lanes::ZERO);
        }
        for (i, grad) in grad.iter().enumerate() {
            let (y, c) = (i / output.row(), i / output.width % output.channels);
            let mut best = ([f32::NEG_INFINITY; LANES], [usize::MAX; LANES]);
            for row in windows.covers(y, input.height) {
                let start = row * input.row() + c * input.width;
                for column in windows.covers(i % output.width, input.width) {
                    for lane in 0..LANES {
                        let v = x[start + column].0[lane];
                        if best.1[lane] == usize::MAX || is_larger(v, best.0[lane]) {
                            (best.0[lane], best.1[lane]) = (v, start + column);
                        }
                    }
                }
            }
            for lane in 0..LANES {
                grad_x[best.1[lane]].0[lane] += grad.0[lane];
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
    fn means_of_windows_and_their_gradient() {
        let input = Plane { batch: 1, channels: 2, height: 3, width: 5 };
        let windows = Windows { size: (2, 2) };
        let output = windows.output(&input);
        assert_eq!((output.height, output.width), (1, 2));
        let values: Vec<f32> = (0..30).map(|i| i as f32).collect();
        let mut x = vec![Lanes::ZERO; input.len()];
        from_nchw(&input, &values, &mut x);
        let mut out = vec![Lanes([9.0; 16]); output.len()];
        average(&input, windows, &x, &mut out);
        let mut means = vec![0.0; 4];
        to_nchw(&output, &out, &mut means);
        assert_eq!(means, [3.0, 5.0, 18.0, 20.0]);

        let mut grad = vec![Lanes::ZERO; output.len()];
        from_nchw(&output, &[4.0, 8.0, 12.0, 16.0], &mut grad);
        let mut grad_x = vec![Lanes([9.0; 16]); input.len()];
        average_grad(&input, windows, &grad, &mut grad_x, false);
        let mut got = vec![0.0; 30];
        to_nchw(&input, &grad_x, &mut got);
        assert_eq!(got[..15], [1., 1., 2., 2., 0., 1., 1., 2., 2., 0., 0., 0., 0., 0., 0.]);
        average_grad(&input, windows, &grad, &mut grad_x, true);
        to_nchw(&input, &grad_x, &mut got);
        assert_eq!(got[15..20], [6.0, 6.0, 8.0, 8.0, 0.0]);
    }

    #[test]
    fn one_window_is_the_whole_plane() {
        let input = Plane { batch: 17, channels: 1, height: 2, width: 3 };
        let values: Vec<f32> = (0..102).map(|i| i as f32).collect();
        let mut x = vec![Lanes::ZERO; input.len()];
        from_nchw(&input, &values, &mut x);
        let windows = Windows { size: (2, 3) };
        let mut out = vec![Lanes::ZERO; 2];
        average(&input, windows, &x, &mut out);
        assert_eq!(out[1].0[0], values[96..].iter().sum::<f32>() * (1.0 / 6.0));
    }

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
        // What is not a number shows, and what is infinitely small has a gradient, too.
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
