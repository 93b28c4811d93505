//! Bilinear resizing of images, with antialiasing.

use std::ops::Range;

/// The source pixels of one target pixel, with their weights. The weights sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Resizes the part `rows × columns` of an image `[height, width, channels]` to `to` rows and columns.
///
/// The filter is bilinear. When the image gets smaller, the filter gets wider by the same factor (antialiasing), as in
/// Pillow and torchvision. A part that already has the target size and starts at a whole pixel is copied.
pub(crate) fn resize(
    pixels: &[u8],
    [height, width, channels]: [usize; 3],
    [rows, columns]: [Range<f64>; 2],
    to: [usize; 2],
) -> Vec<u8> {
    let (down, across) = (taps(height, &rows, to[0]), taps(width, &columns, to[1]));
    // First the columns: each source row, with the columns of the target.
    let mut narrow = Vec::with_capacity(height * to[1] * channels);
    for row in pixels.chunks_exact(width * channels) {
        for taps in &across {
            for channel in 0..channels {
                let values = row[taps.first * channels + channel..].iter().step_by(channels);
                let terms = values.zip(&taps.weights).map(|(&value, w)| f32::from(value) * w);
                narrow.push(terms.sum::<f32>());
            }
        }
    }
    let stride = to[1] * channels;
    let mut scaled = Vec::with_capacity(to[0] * stride);
    for taps in &down {
        for at in 0..stride {
            let values = narrow[taps.first * stride + at..].iter().step_by(stride);
            let sum: f32 = values.zip(&taps.weights).map(|(value, w)| value * w).sum();
            // Rounded to whole numbers; the cast saturates outside 0 to 255.
            scaled.push(sum.round() as u8);
        }
    }
    scaled
}

/// The source pixels of each of `n` target pixels. There are `size` source pixels; the target shows `part` of them.
fn taps(size: usize, part: &Range<f64>, n: usize) -> Vec<Taps> {
    let step = (part.end - part.start) / n as f64;
    // The filter is a triangle. It ends one source pixel from its centre, or one target pixel if that is larger.
    let reach = step.max(1.0);
    let of = |i: usize| {
        let middle = part.start + (i as f64 + 0.5) * step;
        let first = ((middle - reach).floor().max(0.0) as usize).min(size - 1);
        let end = ((middle + reach).ceil().max(0.0) as usize).clamp(first + 1, size);
        let height = |at: usize| (1.0 - (at as f64 + 0.5 - middle).abs() / reach).max(0.0);
        let heights: Vec<f64> = (first..end).map(height).collect();
        let sum: f64 = heights.iter().sum();
        Taps { first, weights: heights.iter().map(|h| (h / sum) as f32).collect() }
    };
    (0..n).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(pixels: &[u8], dims: [usize; 3], to: [usize; 2]) -> Vec<u8> {
        let part = [0.0..dims[0] as f64, 0.0..dims[1] as f64];
        resize(pixels, dims, part, to)
    }

    #[test]
    fn values_are_those_of_pillow() {
        // Expected values from Pillow: `Image.resize` with `BILINEAR`.
        let pixels = [0, 40, 80, 120, 160, 200, 240, 255];
        for (to, wanted) in WANTED {
            assert_eq!(whole(&pixels, [1, 8, 1], [1, *to]), *wanted, "{to}");
        }
        assert_eq!(whole(&pixels, [8, 1, 1], [3, 1]), WANTED[0].1);
    }

    const WANTED: &[(usize, &[u8])] = &[
        (3, &[44, 140, 229]),
        (5, &[16, 77, 140, 203, 249]),
        (13, &[0, 17, 42, 66, 91, 115, 140, 165, 189, 214, 238, 249, 255]),
    ];

    #[test]
    fn a_part_with_the_target_size_is_copied() {
        let pixels: Vec<u8> = (0..4 * 5 * 3).collect();
        assert_eq!(whole(&pixels, [4, 5, 3], [4, 5]), pixels);
        let part = resize(&pixels, [4, 5, 3], [1.0..3.0, 2.0..4.0], [2, 2]);
        let rows = [1, 2].map(|row| &pixels[row * 15 + 6..row * 15 + 12]);
        assert_eq!(part, rows.concat());
    }

    proptest! {
        #[test]
        fn an_image_of_one_colour_keeps_its_colour(
            (height, width) in (1usize..20, 1usize..20),
            to in (1usize..40, 1usize..40),
            colour in any::<[u8; 3]>(),
        ) {
            let pixels = colour.repeat(height * width);
            let scaled = whole(&pixels, [height, width, 3], [to.0, to.1]);
            prop_assert_eq!(scaled, colour.repeat(to.0 * to.1));
        }
    }
}
