//! The pixels that windows multiply, for a vector of results.
#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

use crate::{planes::spec::WeightedPixel, simd::Simd};

/// The pixels that a window reads for a vector of the output. Weights multiply those of the column to the right, of the
/// centre column and of the column to the left, in the order of their sum.
pub(super) trait Window {
    const RIGHT: &'static [usize];
    const CENTRE: &'static [usize];
    const LEFT: &'static [usize];

    /// Loads the pixels of a vector of the output.
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        per_row: usize,
    ) -> [S::V; 6];
}

/// Three rows of a plane.
pub(super) struct Whole;

impl Window for Whole {
    const RIGHT: &'static [usize] = &[0, 1, 2];
    const CENTRE: &'static [usize] = &[0, 1, 2];
    const LEFT: &'static [usize] = &[0, 1, 2];

    #[inline(always)]
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        _: usize,
    ) -> [S::V; 6] {
        // SAFETY: see `DepthwiseRun`.
        unsafe { load::<S, 3>(from, places, vector) }
    }
}

/// Three rows of even columns, and three of odd columns.
pub(super) struct Phases;

impl Window for Phases {
    const RIGHT: &'static [usize] = &[];
    const CENTRE: &'static [usize] = &[0, 3, 1, 4, 2, 5];
    const LEFT: &'static [usize] = &[3, 4, 5];

    #[inline(always)]
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        _: usize,
    ) -> [S::V; 6] {
        // SAFETY: see `DepthwiseRun`.
        unsafe { load::<S, 6>(from, places, vector) }
    }
}

/// Loads a vector at each of the first `N` places; the other vectors are zero.
#[inline(always)]
unsafe fn load<S: Simd, const N: usize>(
    from: *const f32,
    places: &[i32; 6],
    vector: usize,
) -> [S::V; 6] {
    // SAFETY: see `DepthwiseRun`.
    unsafe {
        let mut pixels = [S::splat(0.0); 6];
        for i in 0..N {
            pixels[i] = S::load(from.add(vector * S::WIDTH).offset(places[i] as isize));
        }
        pixels
    }
}

/// As [`Phases`], but read from a whole plane. The two vectors of pixels for a vector of the output lie side by side,
/// or two rows apart if rows are vectors (`PAIRED`).
pub(super) struct Direct<const PAIRED: bool>;

impl<const PAIRED: bool> Window for Direct<PAIRED> {
    const RIGHT: &'static [usize] = Phases::RIGHT;
    const CENTRE: &'static [usize] = Phases::CENTRE;
    const LEFT: &'static [usize] = Phases::LEFT;

    #[inline(always)]
    unsafe fn pixels<S: Simd>(
        from: *const f32,
        places: &[i32; 6],
        vector: usize,
        per_row: usize,
    ) -> [S::V; 6] {
        let (first, next) = match PAIRED {
            true => (4 * vector, 2),
            false => (vector / per_row * (4 * per_row) + vector % per_row * 2, 1),
        };
        // SAFETY: see `DepthwiseRun`.
        unsafe {
            let from = from.add(first * S::WIDTH);
            let both = |i: usize| {
                let row = from.offset(places[i] as isize);
                S::split(S::load(row), S::load(row.add(next * S::WIDTH)))
            };
            let [a, b, c] = [both(0), both(1), both(2)];
            [a[0], b[0], c[0], a[1], b[1], c[1]]
        }
    }
}

/// Distances from the first source to the pixels of a window. `None` if the sources are not a window.
pub(super) fn places<W: Window>(sources: &[WeightedPixel]) -> Option<[i32; 6]> {
    let mut places = [None; 6];
    for (shift, pixels) in [(1, W::RIGHT), (0, W::CENTRE), (-1, W::LEFT)] {
        let of_column: Vec<&WeightedPixel> = sources.iter().filter(|s| s.shift == shift).collect();
        if of_column.len() != pixels.len() {
            return None;
        }
        for (source, &pixel) in of_column.into_iter().zip(pixels) {
            // A row that is not read may lie before the arena. Its place then wraps around.
            let place = source.at.wrapping_sub(sources[0].at).cast_signed();
            if *places[pixel].get_or_insert(place) != place {
                return None;
            }
        }
    }
    (sources.len() == 9).then(|| places.map(Option::unwrap_or_default))
}
