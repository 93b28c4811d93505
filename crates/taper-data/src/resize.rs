//! Resampling of rows and columns.

use std::ops::Range;

/// The source pixels that one target pixel reads, with their weights, whose sum is 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Scales the part `rows × columns` of an image `[height, width, channels]` to `to` rows and columns.
///
/// The filter is bilinear; to a smaller size it is as much wider, as in Pillow and torchvision (with antialiasing). A part of
/// the target's size at whole pixels is copied.
pub(crate) fn resize(
    pixels: &[u8],
    [height, width, channels]: [usize; 3],
    [rows, columns]: [Range<f64>; 2],
    to: [usize; 2],
) -> Vec<u8> {
    let (down, across) = (taps(height, &rows, to[0]), taps(width, &columns, to[1]));
    // Each row of the image once, in the columns of the target.
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
            // To whole numbers; what is outside the range saturates.
            scaled.push(sum.round() as u8);
        }
    }
    scaled
}

/// What each of `n` target pixels reads of `size` source pixels, of which the target shows `part`.
fn taps(size: usize, part: &Range<f64>, n: usize) -> Vec<Taps> {
    let step = (part.end - part.start) / n as f64;
    // A triangle that ends one source pixel from its middle, or one target pixel where those are larger.
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
        // Image.resize with BILINEAR of the same rows.
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
    fn a_part_of_the_targets_size_is_copied() {
        let pixels: Vec<u8> = (0..4 * 5 * 3).collect();
        assert_eq!(whole(&pixels, [4, 5, 3], [4, 5]), pixels);
        let part = resize(&pixels, [4, 5, 3], [1.0..3.0, 2.0..4.0], [2, 2]);
        let rows = [1, 2].map(|row| &pixels[row * 15 + 6..row * 15 + 12]);
        assert_eq!(part, rows.concat());
    }

    proptest! {
        #[test]
        fn one_colour_stays_what_it_is(
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
