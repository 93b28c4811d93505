//! Average pooling in the blocked layout.

use crate::lanes::{LANES, Lanes, Plane};
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
        1.0 / (self.size.0 * self.size.1) as f32
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
}
