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
