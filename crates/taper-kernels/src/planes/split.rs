//! Splits planes by the parity of rows and columns, for convolutions of stride 2.
#![allow(clippy::needless_range_loop, reason = "loops over constants by index become registers")]

use super::layout::{Layout, expect_inside};
use crate::{
    Variant,
    simd::{Kernel, Simd, launch_on},
};

/// Splits planes of even sizes into four: even or odd rows by even or odd columns.
#[derive(Debug)]
pub struct ParitySplit {
    variant: Variant,
    from: Layout,
    to: Layout,
    arena: usize,
    /// Where the source and the four results of each plane begin.
    planes: Vec<[u32; 5]>,
    /// Only for planes with rows shorter than a vector: for each vector of the result (the four phases follow each
    /// other) and each vector of the source, the source lane of each lane. `masks` selects the lanes that come from
    /// this source vector.
    places: Vec<u32>,
    masks: Vec<f32>,
}

/// Maximum vectors of a plane with rows shorter than a vector.
const SMALL: usize = 8;

impl ParitySplit {
    /// Whether there is a kernel for planes of these layouts.
    pub fn fits(from: &Layout, to: &Layout) -> bool {
        let halves = from.rows.is_multiple_of(2) && from.pitch == 2 * to.pitch;
        let is_small = from.pitch < from.lanes
            && from.vectors() <= SMALL
            && from.is_full()
            && to.is_full()
            && matches!(
                (from.vectors(), to.rows * to.pitch),
                (1 | 2 | 4, 4) | (2 | 4, 8) | (4 | 8, 16)
            );
        // Rows of results are written two at a time.
        let written = (from.rows / 2).next_multiple_of(2) * to.pitch;
        let is_paired = from.pitch == from.lanes && written <= to.plane_len();
        let is_wide = from.pitch.is_multiple_of(2 * from.lanes) && from.rows <= 2 * to.rows;
        halves && (is_wide || is_paired || is_small)
    }

    /// Prepares the split. `planes` has the places where each source and its results begin: even rows and even columns,
    /// even rows and odd columns, odd rows and even columns, odd rows and odd columns.
    ///
    /// # Panics
    /// If the layouts do not fit, or a plane lies outside of an arena of `arena` floats.
    pub fn new(
        variant: Variant,
        from: Layout,
        to: Layout,
        planes: Vec<[u32; 5]>,
        arena: usize,
    ) -> Self {
        assert!(Self::fits(&from, &to), "planes of these layouts cannot be split");
        for &[source, ref results @ ..] in &planes {
            expect_inside(source, from.plane_len(), arena);
            results.iter().for_each(|&at| expect_inside(at, to.plane_len(), arena));
        }
        let mut split =
            Self { variant, from, to, arena, planes, places: Vec::new(), masks: Vec::new() };
        if from.pitch < from.lanes {
            let (n, lanes, each) = (from.vectors(), from.lanes, to.rows * to.pitch);
            for out in 0..n {
                for source in 0..n {
                    for lane in 0..lanes {
                        let at = out * lanes + lane;
                        let (phase, pixel) = (at / each, at % each);
                        let y = 2 * (pixel / to.pitch) + phase / 2;
                        let x = 2 * (pixel % to.pitch) + phase % 2;
                        let place = y * from.pitch + x;
                        let is_there = phase < 4 && place / lanes == source;
                        split.places.push(if is_there { (place % lanes) as u32 } else { 0 });
                        let bits = if is_there { u32::MAX } else { 0 };
                        split.masks.push(f32::from_bits(bits));
                    }
                }
            }
        }
        split
    }

    /// Number of planes that are split.
    pub fn n_planes(&self) -> usize {
        self.planes.len()
    }

    /// Splits the planes.
    ///
    /// # Panics
    /// If the arena is shorter than specified.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(
            arena.len() >= self.arena,
            "the arena has {} floats, but {} are needed",
            arena.len(),
            self.arena
        );
        let arena = arena.as_mut_ptr();
        launch_on(self.variant, self.from.lanes, SplitRun { split: self, arena });
    }
}

struct SplitRun<'a> {
    split: &'a ParitySplit,
    arena: *mut f32,
}

impl Kernel for SplitRun<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { split, arena } = self;
        for &[source, ref results @ ..] in &split.planes {
            // SAFETY: `new` has checked that all planes lie in the arena, and `run` has checked the length of the
            // arena. The layouts have the lanes of `S`.
            unsafe {
                let from = arena.cast_const().add(source as usize);
                let to = results.map(|at| arena.add(at as usize));
                if split.from.pitch < S::WIDTH {
                    match (split.from.vectors(), split.to.rows * split.to.pitch) {
                        (1, 4) => small::<S, 1, 4>(split, from, to),
                        (2, 4) => small::<S, 2, 4>(split, from, to),
                        (4, 4) => small::<S, 4, 4>(split, from, to),
                        (2, 8) => small::<S, 2, 8>(split, from, to),
                        (4, 8) => small::<S, 4, 8>(split, from, to),
                        (4, 16) => small::<S, 4, 16>(split, from, to),
                        (_, 16) => small::<S, 8, 16>(split, from, to),
                        (_, each) => unreachable!("planes of {each} floats"),
                    }
                } else if split.from.pitch == S::WIDTH {
                    paired::<S>(split, from, to);
                } else {
                    wide::<S>(split, from, to);
                }
            }
        }
    }
}

/// Rows of an even number of vectors.
#[inline(always)]
unsafe fn wide<S: Simd>(split: &ParitySplit, from: *const f32, to: [*mut f32; 4]) {
    let (pitch, half) = (split.from.pitch, split.to.pitch);
    for y in 0..split.from.rows {
        for x in (0..half).step_by(S::WIDTH) {
            // SAFETY: see `run`.
            unsafe {
                let pixels = from.add(y * pitch + 2 * x);
                let [even, odd] = S::split(S::load(pixels), S::load(pixels.add(S::WIDTH)));
                let at = y / 2 * half + x;
                S::store(to[y % 2 * 2].add(at), even);
                S::store(to[y % 2 * 2 + 1].add(at), odd);
            }
        }
    }
}

/// Rows of one vector: two rows fill a vector of the result. If a plane has an odd number of row pairs, zeros follow
/// the last row.
#[inline(always)]
unsafe fn paired<S: Simd>(split: &ParitySplit, from: *const f32, to: [*mut f32; 4]) {
    for y in (0..split.from.rows).step_by(4) {
        for odd_row in 0..2 {
            // SAFETY: see `run`.
            unsafe {
                let pixels = from.add((y + odd_row) * S::WIDTH);
                let next = match y + 2 < split.from.rows {
                    true => S::load(pixels.add(2 * S::WIDTH)),
                    false => S::splat(0.0),
                };
                let [even, odd] = S::split(S::load(pixels), next);
                let at = y / 2 * split.to.pitch;
                S::store(to[2 * odd_row].add(at), even);
                S::store(to[2 * odd_row + 1].add(at), odd);
            }
        }
    }
}

/// Planes of `N` vectors, split into planes of `EACH` floats: each vector of the result is gathered from all vectors of
/// the source.
#[inline(always)]
unsafe fn small<S: Simd, const N: usize, const EACH: usize>(
    split: &ParitySplit,
    from: *const f32,
    to: [*mut f32; 4],
) {
    let mut out = [0.0f32; SMALL * 16];
    // SAFETY: see `run`; a plane has at most `SMALL` vectors, and each entry of the tables has as many floats as a
    // vector.
    unsafe {
        let mut pixels = [S::splat(0.0); N];
        for s in 0..N {
            pixels[s] = S::load(from.add(s * S::WIDTH));
        }
        for v in 0..N {
            let mut value = S::splat(0.0);
            for s in 0..N {
                let at = (v * N + s) * S::WIDTH;
                let given = S::permute(pixels[s], split.places.as_ptr().add(at));
                // With one source vector, every lane comes from it.
                value = match N {
                    1 => given,
                    _ => S::or(value, S::and(given, S::load(split.masks.as_ptr().add(at)))),
                };
            }
            S::store(out.as_mut_ptr().add(v * S::WIDTH), value);
        }
        for (phase, to) in to.into_iter().enumerate() {
            let part = out.as_ptr().add(phase * EACH).cast::<[f32; EACH]>().read_unaligned();
            to.cast::<[f32; EACH]>().write_unaligned(part);
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::planes::testing::Numbers;
    use std::collections::BTreeSet;

    fn layout(rows: usize, columns: usize, pitch: usize, lanes: usize) -> Layout {
        Layout { rows, columns, pitch, halo: 0, lanes }
    }

    /// Splits a plane between others, and compares the whole arena.
    fn check(variant: Variant, from: Layout, to: Layout, numbers: &mut Numbers) {
        let (size, part) = (from.plane_len(), to.plane_len());
        let gap = 3;
        let len = 2 * (size + 4 * (part + gap)) + gap;
        let mut arena = numbers.many(len);
        let planes: Vec<[u32; 5]> = (0..2)
            .map(|plane| {
                let first = gap + plane * (size + 4 * (part + gap));
                let results = [0, 1, 2, 3].map(|i| (first + size + i * (part + gap)) as u32);
                [first as u32, results[0], results[1], results[2], results[3]]
            })
            .collect();
        let mut want = arena.clone();
        for &[source, ref results @ ..] in &planes {
            for (phase, &at) in results.iter().enumerate() {
                for y in 0..to.rows {
                    for x in 0..to.pitch {
                        let place = (2 * y + phase / 2) * from.pitch + 2 * x + phase % 2;
                        want[at as usize + y * to.pitch + x] = arena[source as usize + place];
                    }
                }
            }
        }
        ParitySplit::new(variant, from, to, planes, len).run(&mut arena);
        assert!(arena == want, "{variant}: {from:?} {to:?}");
    }

    #[test]
    fn results_with_too_few_rows_do_not_fit() {
        let from = layout(8, 32, 32, 16);
        assert!(ParitySplit::fits(&from, &layout(4, 16, 16, 16)));
        assert!(!ParitySplit::fits(&from, &layout(1, 16, 16, 16)));
    }

    #[test]
    fn each_form_computes_its_definition() {
        let mut numbers = Numbers(1);
        for variant in Variant::available() {
            let mut forms = BTreeSet::new();
            for &lanes in variant.lanes() {
                for to_lanes in variant.lanes() {
                    for rows in [2, 4, 6, 8, 12, 16] {
                        for pitch in [1, 2, 4, 8, 16, 32, 48, 64, 96].map(|n| 2 * n) {
                            let from = layout(rows, pitch, pitch, lanes);
                            let to = layout(rows / 2, pitch / 2, pitch / 2, *to_lanes);
                            // Vectors of the result that hold more than its rows are not written to their ends.
                            let is_whole = (to.rows * to.pitch).is_multiple_of(to.lanes);
                            if is_whole && ParitySplit::fits(&from, &to) {
                                check(variant, from, to, &mut numbers);
                                forms.insert((pitch.cmp(&lanes), from.vectors().min(9)));
                            }
                        }
                    }
                }
            }
            let n_forms = forms.iter().map(|(form, _)| form).collect::<BTreeSet<_>>().len();
            assert_eq!(n_forms, 3, "{variant}: {forms:?}");
        }
    }

    #[test]
    fn planes_outside_of_the_arena_are_refused() {
        let (from, to) = (layout(4, 32, 32, 16), layout(2, 16, 16, 16));
        let is_refused = |planes: [u32; 5]| {
            std::panic::catch_unwind(|| {
                ParitySplit::new(Variant::Scalar, from, to, vec![planes], 256)
            })
            .is_err()
        };
        assert!(!is_refused([128, 224, 224, 224, 224]));
        assert!(is_refused([129, 0, 0, 0, 0]) && is_refused([u32::MAX, 0, 0, 0, 0]));
        for i in 1..5 {
            let mut planes = [0; 5];
            planes[i] = 225;
            assert!(is_refused(planes));
        }
    }

    #[test]
    #[should_panic(expected = "cannot be split")]
    fn other_layouts_are_refused() {
        let _ = ParitySplit::new(
            Variant::Scalar,
            layout(3, 32, 32, 16),
            layout(2, 16, 16, 16),
            vec![],
            0,
        );
    }
}
