//! im2col: lowers an image to a matrix with one row per weight position and one column per output pixel.

use super::ConvShape;
use crate::matmul::Matrix;
use rayon::prelude::*;

/// Floats of the matrix per task.
const TASK: usize = 1 << 16;

/// The matrix of one image and one group of channels. `buffer` holds it, unless it is the image itself.
pub(super) fn columns<'a>(
    shape: &ConvShape,
    image: &'a [f32],
    buffer: &'a mut Vec<f32>,
) -> Matrix<'a> {
    let (rows, pixels) = (shape.taps(), shape.out_pixels());
    if shape.is_pointwise() {
        return Matrix::new(image, rows, pixels);
    }
    buffer.resize(rows * pixels, 0.0);
    let channel = rows / shape.group_in() * pixels;
    let channels = buffer.par_chunks_mut(channel).zip(image.par_chunks(shape.in_pixels()));
    channels.with_min_len(TASK / channel).for_each(|(rows, plane)| {
        each_row(shape, |from, to, span| match span {
            Span::Outside => rows[to].fill(0.0),
            Span::Inside { first, last } => {
                let out = &mut rows[to];
                out[..first].fill(0.0);
                out[last..].fill(0.0);
                if shape.stride == 1 {
                    out[first..last].copy_from_slice(&plane[from..from + last - first]);
                } else {
                    for (out, pixel) in
                        out[first..last].iter_mut().zip(plane[from..].iter().step_by(shape.stride))
                    {
                        *out = *pixel;
                    }
                }
            }
        });
    });
    Matrix::new(buffer, rows, pixels)
}

/// The transpose of [`columns`] (col2im): adds each entry of the matrix to its pixel.
pub(super) fn add_back(shape: &ConvShape, columns: &[f32], image: &mut [f32]) {
    let channel = columns.len() / shape.group_in();
    let channels = image.par_chunks_mut(shape.in_pixels()).zip(columns.par_chunks(channel));
    channels.with_min_len(TASK / channel).for_each(|(plane, rows)| {
        each_row(shape, |from, to, span| {
            if let Span::Inside { first, last } = span {
                let pixels = plane[from..].iter_mut().step_by(shape.stride);
                for (pixel, part) in pixels.zip(&rows[to][first..last]) {
                    *pixel += part;
                }
            }
        });
    });
}

/// Which output pixels of a row read the image, and which read only padding.
enum Span {
    Outside,
    Inside { first: usize, last: usize },
}

/// Calls `visit(from, to, span)` for each weight position of a channel and each output row. `to` is the place of the
/// row in the channel's part of the matrix. `from` is the pixel of the channel's plane that the first inside column
/// reads.
fn each_row(shape: &ConvShape, mut visit: impl FnMut(usize, std::ops::Range<usize>, Span)) {
    let (out_height, out_width) = shape.out_hw();
    let mut start = 0;
    for ky in 0..shape.kernel.0 {
        for kx in 0..shape.kernel.1 {
            let offset = kx * shape.dilation;
            // Columns x with padding ≤ x·stride + offset < padding + width.
            let first = shape.padding.saturating_sub(offset).div_ceil(shape.stride).min(out_width);
            let last = (shape.padding + shape.width)
                .saturating_sub(offset)
                .div_ceil(shape.stride)
                .min(out_width);
            for y in 0..out_height {
                let to = start..start + out_width;
                start += out_width;
                let row = (y * shape.stride + ky * shape.dilation).checked_sub(shape.padding);
                match row.filter(|&row| row < shape.height && first < last) {
                    None => visit(0, to, Span::Outside),
                    Some(row) => {
                        let col = first * shape.stride + offset - shape.padding;
                        visit(row * shape.width + col, to, Span::Inside { first, last });
                    }
                }
            }
        }
    }
}
