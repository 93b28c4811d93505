//! Average pooling.

use super::{begin, each_channel};
use crate::{
    lanes::{LANES, Lanes, Plane, floats, floats_mut},
    simd::{Kernel, Simd, Variant, launch},
    sizes::product,
};
use rayon::prelude::*;

/// Windows of `size` pixels without overlap. Rows and columns that fill no window are left out.
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
    means(Way::of(input, windows), input, windows, x, out);
}

fn means(way: Way, input: &Plane, windows: Windows, x: &[Lanes], out: &mut [Lanes]) {
    let output = windows.output(input);
    let ((rows, cols), share) = (windows.size, windows.share());
    let variant = Variant::current();
    if let Way::Images | Way::Pairs = way {
        let from_n = input.vectors();
        let units = out.par_chunks_mut(output.unit()).zip(x.par_chunks(input.unit()));
        return units.for_each(|(out, x)| {
            let channels = out.chunks_exact_mut(output.vectors()).zip(x.chunks_exact(from_n));
            for (to, from) in channels {
                match way {
                    Way::Images => launch(variant, ImageMeans { input, windows, from, to }),
                    _ => launch(variant, PairMeans { output: &output, rows, share, from, to }),
                }
            }
        });
    }
    begin(out, false);
    each_channel(&output, out, |image, channel, out, to| {
        let from = input.channel(image, channel);
        for y in 0..output.height {
            for column in 0..output.width {
                let mut sum = 0.0;
                for row in y * rows..(y + 1) * rows {
                    for x_column in column * cols..(column + 1) * cols {
                        sum += floats(x)[from.at(row, x_column)];
                    }
                }
                out[to.at(y, column)] = sum * share;
            }
        }
    });
}

/// Gradient of the input: each pixel of a window gets an equal part of the window's gradient. Pixels outside of windows
/// get 0.
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
    if grad.is_empty() {
        return begin(grad_x, is_added);
    }
    means_grad(Way::of(input, windows), input, windows, grad, grad_x, is_added);
}

fn means_grad(
    way: Way,
    input: &Plane,
    windows: Windows,
    grad: &[Lanes],
    grad_x: &mut [Lanes],
    is_added: bool,
) {
    let output = windows.output(input);
    let ((rows, cols), share) = (windows.size, windows.share());
    let variant = Variant::current();
    if let Way::Images | Way::Pairs = way {
        let from_n = output.vectors();
        let units = grad_x.par_chunks_mut(input.unit()).zip(grad.par_chunks(output.unit()));
        return units.for_each(|(grad_x, grad)| {
            let channels = grad_x.chunks_exact_mut(input.vectors()).zip(grad.chunks_exact(from_n));
            for (to, from) in channels {
                if !is_added {
                    to.fill(Lanes::ZERO);
                }
                match way {
                    Way::Images => launch(variant, ImageShares { input, windows, from, to }),
                    _ => launch(variant, PairShares { output: &output, rows, share, from, to }),
                }
            }
        });
    }
    begin(grad_x, is_added);
    each_channel(input, grad_x, |image, channel, grad_x, to| {
        let from = output.channel(image, channel);
        for row in 0..output.height * rows {
            for column in 0..output.width {
                let grad = floats(grad)[from.at(row / rows, column)] * share;
                for x_column in column * cols..(column + 1) * cols {
                    grad_x[to.at(row, x_column)] += grad;
                }
            }
        }
    });
}

/// How windows are traversed. All ways compute the same bits: those of sums row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// With images in the lanes on both sides.
    Images,
    /// Windows of two columns, with columns in the lanes on both sides.
    Pairs,
    /// Pixel by pixel.
    Pixels,
}

impl Way {
    fn of(input: &Plane, windows: Windows) -> Self {
        let output = windows.output(input);
        let are_pairs = || {
            windows.size.1 == 2
                && input.width == 2 * output.width
                && input.pitch() == 2 * output.pitch()
        };
        match (input.has_images_in_lanes(), output.has_images_in_lanes()) {
            (true, true) => Self::Images,
            (false, false) if are_pairs() => Self::Pairs,
            _ => Self::Pixels,
        }
    }
}

/// Means of a channel of sixteen images.
struct ImageMeans<'a> {
    input: &'a Plane,
    windows: Windows,
    from: &'a [Lanes],
    to: &'a mut [Lanes],
}

impl Kernel for ImageMeans<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { input, windows, from, to } = self;
        let (Plane { height, width, .. }, (rows, cols)) = (windows.output(input), windows.size);
        for (i, to) in to.iter_mut().enumerate().take(height * width) {
            let (y, column) = (i / width * rows, i % width * cols);
            for part in (0..LANES).step_by(S::WIDTH) {
                // SAFETY: a vector of lanes from `part` on; the caller guarantees the instruction set.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for row in y..y + rows {
                        for from in &from[row * input.width + column..][..cols] {
                            sum = S::add(sum, S::load(from.0.as_ptr().add(part)));
                        }
                    }
                    let mean = S::mul(sum, S::splat(windows.share()));
                    S::store(to.0.as_mut_ptr().add(part), mean);
                }
            }
        }
    }
}

/// Adds to each pixel of a channel of sixteen images its part of the gradient of its window.
struct ImageShares<'a> {
    input: &'a Plane,
    windows: Windows,
    from: &'a [Lanes],
    to: &'a mut [Lanes],
}

impl Kernel for ImageShares<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { input, windows, from, to } = self;
        let (Plane { height, width, .. }, (rows, cols)) = (windows.output(input), windows.size);
        for (i, from) in from.iter().enumerate().take(height * width) {
            let (y, column) = (i / width * rows, i % width * cols);
            for part in (0..LANES).step_by(S::WIDTH) {
                // SAFETY: as above.
                unsafe {
                    let grad = S::load(from.0.as_ptr().add(part));
                    let grad = S::mul(grad, S::splat(windows.share()));
                    for row in y..y + rows {
                        for to in &mut to[row * input.width + column..][..cols] {
                            let to = to.0.as_mut_ptr().add(part);
                            S::store(to, S::add(S::load(to), grad));
                        }
                    }
                }
            }
        }
    }
}

/// The places of a channel of means, in vectors, for windows of two columns.
///
/// Returns the first float of each vector, with the first floats of the two vectors in the first row of its windows;
/// then the range of the remaining floats, which fill no vector.
fn pairs(
    output: &Plane,
    rows: usize,
    width: usize,
) -> (impl Iterator<Item = (usize, [usize; 2])>, std::ops::Range<usize>) {
    let (pitch, height) = (output.pitch(), output.height);
    // A vector holds two rows, or a part of one row. If rows are shorter, there are no vectors.
    let each = if 2 * pitch == width { 2 } else { 1 };
    let n = if pitch * each < width { 0 } else { height / each * each * pitch };
    let places = (0..n).step_by(width).map(move |to| {
        let (y, x) = (to / pitch, to % pitch);
        let first = y * rows * 2 * pitch + 2 * x;
        (to, [first, first + if each == 2 { rows * 2 * pitch } else { width }])
    });
    (places, n..height * pitch)
}

/// Means of a channel of an image, of windows of two columns.
struct PairMeans<'a> {
    output: &'a Plane,
    rows: usize,
    share: f32,
    from: &'a [Lanes],
    to: &'a mut [Lanes],
}

impl Kernel for PairMeans<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { output, rows, share, from, to } = self;
        let pitch = output.pitch();
        let (from, to) = (floats(from), floats_mut(to));
        assert!(output.height * pitch <= to.len(), "means of a channel");
        assert!(output.height * rows * 2 * pitch <= from.len(), "windows of a channel");
        let (places, left) = pairs(output, rows, S::WIDTH);
        for (at, pair) in places {
            // SAFETY: the vectors lie within the rows that were asserted; the caller guarantees the instruction set.
            unsafe {
                let mut sum = S::splat(0.0);
                for row in 0..rows {
                    let [a, b] = pair.map(|at| S::load(from.as_ptr().add(at + row * 2 * pitch)));
                    let [even, odd] = S::split(a, b);
                    sum = S::add(S::add(sum, even), odd);
                }
                S::store(to.as_mut_ptr().add(at), S::mul(sum, S::splat(share)));
            }
        }
        for at in left {
            let first = at / pitch * rows * 2 * pitch + 2 * (at % pitch);
            let mut sum = 0.0;
            for row in 0..rows {
                let pair = &from[first + row * 2 * pitch..][..2];
                sum = (sum + pair[0]) + pair[1];
            }
            to[at] = sum * share;
        }
        to[output.height * pitch..].fill(0.0);
    }
}

/// Adds to each pixel of a channel of an image its part of the gradient of its window of two columns.
struct PairShares<'a> {
    output: &'a Plane,
    rows: usize,
    share: f32,
    from: &'a [Lanes],
    to: &'a mut [Lanes],
}

impl Kernel for PairShares<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { output, rows, share, from, to } = self;
        let pitch = output.pitch();
        let (from, to) = (floats(from), floats_mut(to));
        assert!(output.height * pitch <= from.len(), "means of a channel");
        assert!(output.height * rows * 2 * pitch <= to.len(), "windows of a channel");
        // Each lane twice: first the lanes of the lower half, then those of the upper half.
        let twice: [u32; 2 * LANES] = std::array::from_fn(|i| i as u32 / 2);
        let (places, left) = pairs(output, rows, S::WIDTH);
        for (at, pair) in places {
            // SAFETY: as above; lane indices are below the vector's length.
            unsafe {
                let grad = S::mul(S::load(from.as_ptr().add(at)), S::splat(share));
                let halves = [0, S::WIDTH].map(|i| S::permute(grad, twice.as_ptr().add(i)));
                for row in 0..rows {
                    for (half, at) in halves.iter().zip(pair) {
                        let to = to.as_mut_ptr().add(at + row * 2 * pitch);
                        S::store(to, S::add(S::load(to), *half));
                    }
                }
            }
        }
        for at in left {
            let grad = from[at] * share;
            let first = at / pitch * rows * 2 * pitch + 2 * (at % pitch);
            for row in 0..rows {
                to[first + row * 2 * pitch..][..2].iter_mut().for_each(|to| *to += grad);
            }
        }
    }
}

/// Means of planes of `pixels` values each, in NCHW. Sums are in f64, in the order of the values.
///
/// # Panics
/// If `x` does not have `pixels` values per mean, or `pixels` is 0.
pub fn plane_means(pixels: usize, x: &[f32], out: &mut [f32]) {
    assert!(pixels > 0 && x.len() == product([out.len(), pixels]), "planes of {pixels} pixels");
    for (out, plane) in out.iter_mut().zip(x.chunks_exact(pixels)) {
        let sum: f64 = plane.iter().map(|&v| f64::from(v)).sum();
        *out = (sum / pixels as f64) as f32;
    }
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
    fn every_way_gives_the_bits_of_pixel_by_pixel_for_every_variant() {
        let sizes = [
            ((16, 16), (2, 2)),
            ((32, 32), (2, 2)),
            ((10, 32), (3, 2)),
            ((12, 12), (2, 2)),
            ((14, 8), (2, 2)),
            ((9, 64), (2, 2)),
            ((6, 16), (2, 2)),
            ((4, 4), (2, 2)),
            ((3, 4), (2, 3)),
            ((2, 2), (2, 2)),
            ((8, 8), (8, 8)),
            ((12, 16), (4, 4)),
        ];
        let mut ways = Vec::new();
        for ((height, width), size) in sizes {
            let input = Plane { batch: 19, channels: 3, height, width };
            let windows = Windows { size };
            let output = windows.output(&input);
            let numbers = |plane: &Plane, f: f32| {
                let n = plane.batch * plane.image();
                let values: Vec<f32> = (0..n).map(|i| (i as f32 * f).sin()).collect();
                let mut x = vec![Lanes::ZERO; plane.len()];
                from_nchw(plane, &values, &mut x);
                x
            };
            let (x, grad) = (numbers(&input, 0.7), numbers(&output, 1.3));
            let way = Way::of(&input, windows);
            ways.push(way);
            let both = |way: Way, is_added: bool| {
                let mut out = vec![Lanes([9.0; LANES]); output.len()];
                means(way, &input, windows, &x, &mut out);
                let mut grad_x =
                    if is_added { x.clone() } else { vec![Lanes([9.0; LANES]); x.len()] };
                means_grad(way, &input, windows, &grad, &mut grad_x, is_added);
                [out, grad_x].map(|x| floats(&x).iter().map(|v| v.to_bits()).collect::<Vec<_>>())
            };
            for is_added in [false, true] {
                let want = both(Way::Pixels, is_added);
                for variant in Variant::available() {
                    let got = variant.with(|| both(way, is_added));
                    assert_eq!(got, want, "{variant} {input:?} {way:?}");
                }
            }
        }
        assert!([Way::Images, Way::Pairs, Way::Pixels].iter().all(|way| ways.contains(way)));
    }

    #[test]
    fn planes_smaller_than_a_window_have_no_gradient() {
        let input = Plane { batch: 2, channels: 1, height: 3, width: 3 };
        let mut grad_x = vec![Lanes([9.0; LANES]); input.len()];
        average_grad(&input, Windows { size: (4, 4) }, &[], &mut grad_x, true);
        assert!(grad_x.iter().all(|x| *x == Lanes([9.0; LANES])));
        average_grad(&input, Windows { size: (4, 4) }, &[], &mut grad_x, false);
        assert!(grad_x.iter().all(|x| *x == Lanes::ZERO));
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
