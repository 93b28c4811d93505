//! Pooling of planes.

use super::layout::Layout;
use std::ops::Range;

/// What becomes of the pixels of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// The largest; NaN if one is, −∞ if there is none.
    Max,
    /// Their mean; NaN if there is none.
    Mean,
}

/// Pooling of windows. A window is a range of rows and of columns with a step.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Layout of the planes that are read.
    pub from: Layout,
    /// Layout of the planes that are written.
    pub to: Layout,
    /// The rows of the windows of each row of the result.
    pub rows: Vec<Range<u32>>,
    /// The columns of the windows of each column of the result.
    pub columns: Vec<Range<u32>>,
    /// Steps from one row and one column of a window to the next.
    pub steps: [usize; 2],
    /// What becomes of a window.
    pub reduce: Reduce,
    /// Pixels that a mean divides by; those of the window itself if it is 0.
    pub count: usize,
    /// Begin of the source and of the result for each plane, in the arena.
    pub planes: Vec<[u32; 2]>,
}

impl Pool {
    /// Floats of scratch memory that a run takes.
    pub fn scratch(&self) -> usize {
        self.from.columns
    }

    /// Pools, with scratch memory of any content.
    ///
    /// # Panics
    /// If a plane lies outside of the arena, or there is too little scratch memory.
    pub fn run(&self, arena: &mut [f32], scratch: &mut [f32]) {
        let column = &mut scratch[..self.scratch()];
        // What there is of no pixels.
        let none = if self.reduce == Reduce::Max { f32::NEG_INFINITY } else { 0.0 };
        for &[from, to] in &self.planes {
            for (y, rows) in self.rows.iter().enumerate() {
                // The rows of all windows of this row, reduced.
                let mut n_rows = 0;
                if rows.is_empty() {
                    column.fill(none);
                }
                for row in rows.clone().step_by(self.steps[0]) {
                    let at = from as usize + row as usize * self.from.pitch;
                    let pixels = &arena[at..at + self.from.columns];
                    match (n_rows, self.reduce) {
                        (0, _) => column.copy_from_slice(pixels),
                        (_, Reduce::Max) => {
                            column.iter_mut().zip(pixels).for_each(|(a, &b)| *a = larger(*a, b));
                        }
                        (_, Reduce::Mean) => {
                            column.iter_mut().zip(pixels).for_each(|(a, &b)| *a += b);
                        }
                    }
                    n_rows += 1;
                }
                let to = to as usize + y * self.to.pitch;
                let out = &mut arena[to..to + self.columns.len()];
                for (out, columns) in out.iter_mut().zip(&self.columns) {
                    let columns = columns.start as usize..columns.end as usize;
                    let values = column[columns].iter().step_by(self.steps[1]);
                    *out = match self.reduce {
                        Reduce::Max => values.copied().reduce(larger).unwrap_or(none),
                        Reduce::Mean => {
                            let n =
                                if self.count == 0 { n_rows * values.len() } else { self.count };
                            values.sum::<f32>() / n as f32
                        }
                    };
                }
            }
        }
    }
}

/// The larger of two; NaN if one is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Reduction of whole planes, each to one number.
#[derive(Clone, Debug)]
pub struct Global {
    /// Layout of the planes that are read.
    pub from: Layout,
    /// What becomes of a plane.
    pub reduce: Reduce,
    /// Begin of each plane, and where its number goes, in the arena.
    pub planes: Vec<[u32; 2]>,
}

impl Global {
    /// Reduces.
    ///
    /// # Panics
    /// If a plane lies outside of the arena.
    pub fn run(&self, arena: &mut [f32]) {
        let Layout { rows, columns, pitch, .. } = self.from;
        for &[from, to] in &self.planes {
            let plane = &arena[from as usize..from as usize + (rows - 1) * pitch + columns];
            arena[to as usize] = match self.reduce {
                // What lies behind the columns is 0.
                Reduce::Mean => sum(plane) / (rows * columns) as f32,
                Reduce::Max => {
                    let row = |y: usize| &plane[y * pitch..][..columns];
                    let pixels = (0..rows).flat_map(row).copied();
                    pixels.reduce(larger).unwrap_or(0.0)
                }
            };
        }
    }
}

/// A sum in sixteen chains, which are then added.
fn sum(values: &[f32]) -> f32 {
    if values.len() <= 16 {
        return values.iter().sum();
    }
    let (chunks, rest) = values.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, v)| *sum += v);
    }
    sums.iter_mut().zip(rest).for_each(|(sum, v)| *sum += v);
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::planes::testing::Numbers;

    fn layout(rows: usize, columns: usize, pitch: usize) -> Layout {
        Layout { rows, columns, pitch, halo: 0, lanes: 1 }
    }

    /// What becomes of some numbers.
    fn reduced(reduce: Reduce, count: usize, pixels: &[f32]) -> f32 {
        let n = if count == 0 { pixels.len() } else { count };
        match reduce {
            Reduce::Mean => (pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64) as f32,
            Reduce::Max if pixels.iter().any(|v| v.is_nan()) => f32::NAN,
            Reduce::Max => pixels.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }

    #[track_caller]
    fn same(got: f32, want: f32) {
        let is_same = got == want || got.is_nan() && want.is_nan();
        assert!(is_same || (got - want).abs() <= 1e-6, "{got} {want}");
    }

    #[test]
    fn windows_are_reduced_to_their_definition() {
        let mut numbers = Numbers(1);
        for case in 0..2000 {
            let (n_rows, n_columns) = (1 + numbers.below(7), 1 + numbers.below(7));
            let from = layout(n_rows, n_columns, n_columns + numbers.below(3));
            let mut ranges = |n: usize| -> Vec<Range<u32>> {
                let range = |numbers: &mut Numbers| {
                    let begin = numbers.below(n + 1);
                    begin as u32..(begin + numbers.below(n + 1 - begin)) as u32
                };
                (0..1 + numbers.below(4)).map(|_| range(&mut numbers)).collect()
            };
            let (rows, columns) = (ranges(n_rows), ranges(n_columns));
            let to = layout(rows.len(), columns.len(), columns.len() + 1);
            let steps = [1 + numbers.below(3), 1 + numbers.below(3)];
            let reduce = if numbers.below(2) == 0 { Reduce::Max } else { Reduce::Mean };
            let count = numbers.below(2) * 5;
            let n_from = from.rows * from.pitch;
            let first = 2 * n_from;
            let len = first + 2 * to.rows * to.pitch;
            let mut arena = numbers.many(len);
            if case % 4 == 0 {
                arena[numbers.below(first)] = [f32::NAN, f32::INFINITY][numbers.below(2)];
            }
            let before = arena.clone();
            let planes = (0..2)
                .map(|plane| [(plane * n_from) as u32, (first + plane * to.rows * to.pitch) as u32])
                .collect();
            let pool = Pool { from, to, rows, columns, steps, reduce, count, planes };
            pool.run(&mut arena, &mut vec![f32::NAN; pool.scratch()]);
            for &[source, out] in &pool.planes {
                for (y, rows) in pool.rows.iter().enumerate() {
                    for (x, columns) in pool.columns.iter().enumerate() {
                        let row = |y: u32| {
                            let columns = columns.clone().step_by(steps[1]);
                            columns.map(move |x| y as usize * from.pitch + x as usize)
                        };
                        let places = rows.clone().step_by(steps[0]).flat_map(row);
                        let pixels: Vec<f32> =
                            places.map(|i| before[source as usize + i]).collect();
                        let got = arena[out as usize + y * to.pitch + x];
                        same(got, reduced(reduce, count, &pixels));
                    }
                    // What is behind the columns stays.
                    let behind = out as usize + y * to.pitch + to.columns;
                    assert_eq!(arena[behind], before[behind]);
                }
            }
            assert!(arena[..first].iter().zip(&before).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn planes_are_reduced_to_their_definition() {
        let mut numbers = Numbers(2);
        for rows in 1..9 {
            for columns in [1, 2, 3, 7, 8, 16, 17, 40] {
                for behind in [0, 1, 5] {
                    let from = layout(rows, columns, columns + behind);
                    let mut arena = vec![0.0; rows * from.pitch + 3];
                    // All below 0: what is behind the columns is no pixel.
                    let pixels: Vec<f32> =
                        (0..rows * columns).map(|_| numbers.next() - 1.5).collect();
                    for (y, row) in pixels.chunks(columns).enumerate() {
                        arena[3 + y * from.pitch..][..columns].copy_from_slice(row);
                    }
                    for (at, reduce) in [Reduce::Max, Reduce::Mean].into_iter().enumerate() {
                        let planes = vec![[3, at as u32]];
                        Global { from, reduce, planes }.run(&mut arena);
                        same(arena[at], reduced(reduce, 0, &pixels));
                    }
                    arena[3] = f32::NAN;
                    for reduce in [Reduce::Max, Reduce::Mean] {
                        Global { from, reduce, planes: vec![[3, 0]] }.run(&mut arena);
                        assert!(arena[0].is_nan());
                    }
                }
            }
        }
    }
}
