//! Pooling of planes.

use super::layout::Layout;
use crate::{
    Variant,
    simd::{Kernel, Simd, flush, launch_on},
};
use std::{marker::PhantomData, ops::Range};

/// How the pixels of a window are reduced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// The maximum; NaN if a pixel is NaN, −∞ if there are no pixels.
    Max,
    /// The mean, 0 if it is denormal; NaN if there are no pixels.
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
    /// How windows are reduced.
    pub reduce: Reduce,
    /// The divisor of a mean; if it is 0, the number of pixels of the window.
    pub count: usize,
    /// Where the source and the result of each plane begin in the arena.
    pub planes: Vec<[u32; 2]>,
}

impl Pool {
    /// Floats of scratch memory that a run needs.
    pub fn scratch(&self) -> usize {
        LINES * self.windows().line
    }

    /// Pools the planes. The content of `scratch` does not matter.
    ///
    /// # Panics
    /// If a plane lies outside of the arena, or there is too little scratch memory.
    pub fn run(&self, variant: Variant, arena: &mut [f32], scratch: &mut [f32]) {
        let windows = self.windows();
        // No vector may be longer than a row: the last vector of a row overlaps the one before it.
        let narrowest = self.from.columns.min(self.columns.len());
        let lanes = variant.lanes().iter().copied().find(|&lanes| lanes <= narrowest).unwrap_or(1);
        let scratch = &mut scratch[..LINES * windows.line];
        match self.reduce {
            Reduce::Max => {
                let fold = PhantomData::<Largest>;
                launch_on(variant, lanes, PoolRun { pool: self, windows, arena, scratch, fold });
            }
            Reduce::Mean => {
                let fold = PhantomData::<Sum>;
                launch_on(variant, lanes, PoolRun { pool: self, windows, arena, scratch, fold });
            }
        }
    }

    /// The pattern of the columns of windows.
    fn windows(&self) -> LineWindows {
        let n = self.from.columns;
        let irregular = LineWindows { stride: 0, lead: 0, kernel: 0, line: n };
        if self.steps[1] != 1 {
            return irregular;
        }
        let regular = (1..=2).find_map(|stride| {
            let filled = || self.columns.iter().enumerate().filter(|(_, c)| !c.is_empty());
            let lead =
                filled().map(|(x, c)| (x * stride).saturating_sub(c.start as usize)).max()?;
            let ends = filled().map(|(x, c)| (c.end as usize + lead).checked_sub(x * stride));
            let kernel = ends.max()??;
            let is_regular = self.columns.iter().enumerate().all(|(x, c)| {
                let place = |at: usize| at.saturating_sub(lead).min(n);
                let (start, end) = (place(x * stride), place(x * stride + kernel));
                (start as u32..end as u32) == *c || start == end && c.is_empty()
            });
            let line = (lead + n).max(self.columns.len() * stride + kernel);
            let pays = is_regular && kernel <= MOST_COLUMNS;
            pays.then_some(LineWindows { stride, lead, kernel, line })
        });
        regular.unwrap_or(irregular)
    }
}

/// The pattern of the columns of windows in a line. A line is a row of reduced pixels, with room for padding at both
/// ends.
#[derive(Clone, Copy, Debug)]
struct LineWindows {
    /// Columns from one window to the next, 1 or 2; 0 if windows are irregular.
    stride: usize,
    /// Floats of a line before the first column.
    lead: usize,
    /// Columns of a window.
    kernel: usize,
    /// Floats of a line.
    line: usize,
}

/// Maximum columns of windows that are reduced in whole vectors, padding included. Wider windows are mostly padding;
/// they are reduced pixel by pixel.
const MOST_COLUMNS: usize = 64;

/// Rows of the result at a time. With several rows, a line is not loaded right after it is stored.
const LINES: usize = 4;

/// The reduction of two pixels of a window.
trait Fold {
    /// The neutral value: a reduction with it changes nothing.
    const NONE: f32;

    /// Reduces the value so far and the next pixel, in each lane.
    ///
    /// # Safety
    /// The instructions of `S` must be available.
    unsafe fn of<S: Simd>(so_far: S::V, next: S::V) -> S::V;

    /// As [`of`](Self::of), for one pixel.
    fn one(so_far: f32, next: f32) -> f32;
}

struct Largest;

impl Fold for Largest {
    const NONE: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    unsafe fn of<S: Simd>(so_far: S::V, next: S::V) -> S::V {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { S::larger(so_far, next) }
    }

    #[inline(always)]
    fn one(so_far: f32, next: f32) -> f32 {
        larger(so_far, next)
    }
}

struct Sum;

impl Fold for Sum {
    const NONE: f32 = -0.0;

    #[inline(always)]
    unsafe fn of<S: Simd>(so_far: S::V, next: S::V) -> S::V {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { S::add(so_far, next) }
    }

    #[inline(always)]
    fn one(so_far: f32, next: f32) -> f32 {
        so_far + next
    }
}

struct PoolRun<'a, F> {
    pool: &'a Pool,
    windows: LineWindows,
    arena: &'a mut [f32],
    scratch: &'a mut [f32],
    fold: PhantomData<F>,
}

impl<F: Fold> Kernel for PoolRun<'_, F> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { pool, windows, arena, scratch, .. } = self;
        let (n_from, n_to) = (pool.from.columns, pool.columns.len());
        scratch.fill(F::NONE);
        for &[from, to] in &pool.planes {
            for (block, rows) in pool.rows.chunks(LINES).enumerate() {
                for (line, rows) in scratch.chunks_exact_mut(windows.line).zip(rows) {
                    let line = &mut line[windows.lead..][..n_from];
                    if rows.is_empty() {
                        line.fill(F::NONE);
                        continue;
                    }
                    let place = |row: u32| from as usize + row as usize * pool.from.pitch;
                    let pixels = &arena[place(rows.start)..place(rows.end - 1) + n_from];
                    assert!(pixels.len() >= n_from, "rows must lie one after another");
                    // SAFETY: the caller guarantees the instruction set; a row is at least as long as a vector, and the
                    // pixels are at least as long as a row.
                    unsafe { fold_rows::<S, F>(line, pixels, pool.steps[0], pool.from.pitch) };
                }
                let lines = scratch.chunks_exact(windows.line).zip(rows);
                for (i, (line, rows)) in lines.enumerate() {
                    let to = to as usize + (block * LINES + i) * pool.to.pitch;
                    let out = &mut arena[to..to + n_to];
                    match windows.stride {
                        // SAFETY: as above; lines have room for all windows.
                        1 => unsafe { fold_columns::<S, F>(out, line, windows.kernel) },
                        // SAFETY: as above.
                        2 => unsafe { fold_columns_in_twos::<S, F>(out, line, windows.kernel) },
                        _ => pool.fold_windows::<F>(out, line),
                    }
                    if pool.reduce == Reduce::Mean {
                        pool.divide(out, rows.clone().step_by(pool.steps[0]).len());
                    }
                }
            }
        }
    }
}

/// Start offsets of vectors that cover `n` floats; `n` is at least the length of a vector.
#[inline(always)]
fn vectors<S: Simd>(n: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by(S::WIDTH).map(move |at| at.min(n - S::WIDTH))
}

/// Reduces every `step`-th row to a line of one row's length. Rows begin `pitch` floats apart.
///
/// # Safety
/// The instructions of `S` must be available, the line must be at least as long as a vector, and the pixels at least as
/// long as the line.
#[inline(always)]
unsafe fn fold_rows<S: Simd, F: Fold>(line: &mut [f32], pixels: &[f32], step: usize, pitch: usize) {
    let more = (pixels.len() - line.len()) / pitch / step;
    for at in vectors::<S>(line.len()) {
        // SAFETY: vectors are within the line, and rows within the pixels.
        unsafe {
            let mut row = pixels.as_ptr().add(at);
            let mut value = S::load(row);
            for _ in 0..more {
                row = row.add(step * pitch);
                value = F::of::<S>(value, S::load(row));
            }
            S::store(line.as_mut_ptr().add(at), value);
        }
    }
}

/// Reduces windows of `kernel` columns that begin one column apart.
///
/// # Safety
/// The instructions of `S` must be available. The result must be at least as long as a vector, and the line as long as
/// all windows.
#[inline(always)]
unsafe fn fold_columns<S: Simd, F: Fold>(out: &mut [f32], line: &[f32], kernel: usize) {
    debug_assert!(line.len() + 1 >= out.len() + kernel);
    for at in vectors::<S>(out.len()) {
        // SAFETY: the caller guarantees the lengths.
        unsafe {
            let pixels = line.as_ptr().add(at);
            let mut value = S::load(pixels);
            for x in 1..kernel {
                value = F::of::<S>(value, S::load(pixels.add(x)));
            }
            S::store(out.as_mut_ptr().add(at), value);
        }
    }
}

/// Reduces windows of `kernel` columns that begin two columns apart.
///
/// # Safety
/// As [`fold_columns`]; the line must also have room for one more window.
#[inline(always)]
unsafe fn fold_columns_in_twos<S: Simd, F: Fold>(out: &mut [f32], line: &[f32], kernel: usize) {
    debug_assert!(line.len() >= 2 * out.len() + kernel);
    for at in vectors::<S>(out.len()) {
        // SAFETY: the caller guarantees the lengths.
        unsafe {
            let pixels = line.as_ptr().add(2 * at);
            let mut value = S::splat(F::NONE);
            for x in (0..kernel).step_by(2) {
                // The columns `x` and `x + 1` of each window.
                let pixels = pixels.add(x);
                let [even, odd] = S::split(S::load(pixels), S::load(pixels.add(S::WIDTH)));
                value = F::of::<S>(value, even);
                if x + 1 < kernel {
                    value = F::of::<S>(value, odd);
                }
            }
            S::store(out.as_mut_ptr().add(at), value);
        }
    }
}

impl Pool {
    /// Reduces irregular windows.
    fn fold_windows<F: Fold>(&self, out: &mut [f32], line: &[f32]) {
        for (out, columns) in out.iter_mut().zip(&self.columns) {
            let pixels = line[columns.start as usize..columns.end as usize].iter();
            *out = pixels.step_by(self.steps[1]).copied().reduce(F::one).unwrap_or(F::NONE);
        }
    }

    /// Turns sums of windows with `n_rows` rows into means.
    #[inline(always)]
    fn divide(&self, sums: &mut [f32], n_rows: usize) {
        for (sum, columns) in sums.iter_mut().zip(&self.columns) {
            let n = match self.count {
                0 => n_rows * columns.clone().step_by(self.steps[1]).len(),
                count => count,
            };
            *sum = flush(*sum / n as f32);
        }
    }
}

/// The maximum, the first value where both are equal; NaN where one is NaN.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Reduction of whole planes, each to one value.
#[derive(Clone, Debug)]
pub struct GlobalPool {
    /// Layout of the planes that are read.
    pub from: Layout,
    /// How planes are reduced.
    pub reduce: Reduce,
    /// Where each plane begins and where its value is stored, in the arena.
    pub planes: Vec<[u32; 2]>,
}

impl GlobalPool {
    /// Reduces the planes.
    ///
    /// # Panics
    /// If a plane lies outside of the arena.
    pub fn run(&self, arena: &mut [f32]) {
        let Layout { rows, columns, pitch, .. } = self.from;
        for &[from, to] in &self.planes {
            let plane = &arena[from as usize..from as usize + (rows - 1) * pitch + columns];
            arena[to as usize] = match self.reduce {
                // Floats after the columns are 0.
                Reduce::Mean => flush(sum(plane) / (rows * columns) as f32),
                Reduce::Max => {
                    let row = |y: usize| &plane[y * pitch..][..columns];
                    let pixels = (0..rows).flat_map(row).copied();
                    pixels.reduce(larger).unwrap_or(0.0)
                }
            };
        }
    }
}

/// A sum of sixteen partial sums, which are added in halves.
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

    /// The reduction of some numbers, by definition.
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

    /// Reference implementation: reduces the windows of a plane in the order of the kernel, rows before columns.
    fn reference(pool: &Pool, arena: &[f32], from: usize) -> Vec<f32> {
        let fold = |values: &mut dyn Iterator<Item = f32>| match pool.reduce {
            Reduce::Max => values.reduce(larger).unwrap_or(f32::NEG_INFINITY),
            Reduce::Mean => values.fold(-0.0, |sum, value| sum + value),
        };
        let mut results = Vec::new();
        for rows in &pool.rows {
            let rows = rows.clone().step_by(pool.steps[0]);
            for columns in &pool.columns {
                let columns = columns.clone().step_by(pool.steps[1]);
                let pixel =
                    |y: u32, x: u32| arena[from + y as usize * pool.from.pitch + x as usize];
                let column = |x: u32| fold(&mut rows.clone().map(|y| pixel(y, x)));
                let value = fold(&mut columns.clone().map(column));
                results.push(match (pool.reduce, pool.count) {
                    (Reduce::Max, _) => value,
                    (Reduce::Mean, 0) => flush(value / (rows.len() * columns.len()) as f32),
                    (Reduce::Mean, count) => flush(value / count as f32),
                });
            }
        }
        results
    }

    /// Pools two planes, and compares with the reference implementation and the definition.
    fn check(variant: Variant, mut pool: Pool, numbers: &mut Numbers) {
        let (from, to, steps) = (pool.from, pool.to, pool.steps);
        let (n_from, n_to) = (from.rows * from.pitch, to.rows * to.pitch);
        let first = 2 * n_from;
        let mut arena = numbers.many(first + 2 * n_to);
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0] {
            if numbers.below(3) == 0 {
                arena[numbers.below(first)] = special;
                arena[numbers.below(first)] = special;
            }
        }
        let before = arena.clone();
        pool.planes =
            (0..2).map(|plane| [(plane * n_from) as u32, (first + plane * n_to) as u32]).collect();
        pool.run(variant, &mut arena, &mut vec![f32::NAN; pool.scratch()]);
        for &[source, out] in &pool.planes {
            let reference = reference(&pool, &before, source as usize);
            for (y, rows) in pool.rows.iter().enumerate() {
                for (x, columns) in pool.columns.iter().enumerate() {
                    let row = |y: u32| {
                        let columns = columns.clone().step_by(steps[1]);
                        columns.map(move |x| y as usize * from.pitch + x as usize)
                    };
                    let places = rows.clone().step_by(steps[0]).flat_map(row);
                    let pixels: Vec<f32> = places.map(|i| before[source as usize + i]).collect();
                    let got = arena[out as usize + y * to.pitch + x];
                    same(got, reduced(pool.reduce, pool.count, &pixels));
                    let want = reference[y * to.columns + x];
                    let is_equal = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(is_equal, "{variant}: {got} {want} of {pixels:?}");
                }
                // Floats after the columns must not change.
                let behind = out as usize + y * to.pitch + to.columns;
                assert_eq!(arena[behind], before[behind]);
            }
        }
        assert!(arena[..first].iter().zip(&before).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn windows_of_any_rows_and_columns_are_reduced() {
        for variant in Variant::available() {
            let mut numbers = Numbers(1);
            for _ in 0..1000 {
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
                let reduce = [Reduce::Max, Reduce::Mean][numbers.below(2)];
                let (count, planes) = (numbers.below(2) * 5, Vec::new());
                let pool = Pool { from, to, rows, columns, steps, reduce, count, planes };
                check(variant, pool, &mut numbers);
            }
        }
    }

    /// The columns of regular windows, clipped to a row of `n` columns.
    fn windows(n: usize, kernel: usize, stride: usize, padding: [usize; 2]) -> Vec<Range<u32>> {
        let n_windows = (n + padding[0] + padding[1] - kernel) / stride + 1;
        let place = |at: usize| at.saturating_sub(padding[0]).min(n) as u32;
        (0..n_windows).map(|i| place(i * stride)..place(i * stride + kernel)).collect()
    }

    #[test]
    fn regular_windows_are_reduced() {
        for variant in Variant::available() {
            let mut numbers = Numbers(2);
            for case in 0..1500 {
                let (kernel, stride) = (1 + numbers.below(7), 1 + numbers.below(3));
                let padding = [numbers.below(kernel), numbers.below(kernel)];
                let n_columns = kernel + numbers.below([8, 20, 80][case % 3]);
                let n_rows = kernel + numbers.below(6);
                let columns = windows(n_columns, kernel, stride, padding);
                let rows = windows(n_rows, kernel, stride, [padding[1], padding[0]]);
                let from = layout(n_rows, n_columns, n_columns + numbers.below(3));
                let to = layout(rows.len(), columns.len(), columns.len() + 1);
                let reduce = [Reduce::Max, Reduce::Mean][numbers.below(2)];
                let count = numbers.below(2) * kernel * kernel;
                let (steps, planes) = ([1; 2], Vec::new());
                let pool = Pool { from, to, rows, columns, steps, reduce, count, planes };
                // Windows of one column are regular for any stride.
                let found = pool.windows().stride;
                assert!(found == stride || stride == 3 && found == 0 || to.columns <= 2, "{found}");
                check(variant, pool, &mut numbers);
            }
        }
    }

    #[test]
    fn planes_and_scratch_memory_that_are_too_short_are_refused() {
        let (from, to) = (layout(4, 16, 16), layout(2, 8, 8));
        let rows = windows(4, 2, 2, [0; 2]);
        let columns = windows(16, 2, 2, [0; 2]);
        let refused = |at: [u32; 2], less: usize| {
            let (rows, columns) = (rows.clone(), columns.clone());
            let (steps, reduce, count) = ([1; 2], Reduce::Max, 0);
            let pool = Pool { from, to, rows, columns, steps, reduce, count, planes: vec![at] };
            let mut scratch = vec![0.0; pool.scratch() - less];
            let run = move || pool.run(Variant::Scalar, &mut [0.0; 80], &mut scratch);
            std::panic::catch_unwind(run).is_err()
        };
        assert!(!refused([0, 64], 0) && !refused([16, 64], 0));
        assert!(refused([17, 64], 0) && refused([0, 65], 0) && refused([0, 64], 1));
    }

    #[test]
    fn planes_are_reduced_to_their_definition() {
        let mut numbers = Numbers(3);
        for rows in 1..9 {
            for columns in [1, 2, 3, 7, 8, 16, 17, 40] {
                for behind in [0, 1, 5] {
                    let from = layout(rows, columns, columns + behind);
                    let mut arena = vec![0.0; rows * from.pitch + 3];
                    // All pixels are below 0: floats after the columns are no pixels.
                    let pixels: Vec<f32> =
                        (0..rows * columns).map(|_| numbers.next() - 1.5).collect();
                    for (y, row) in pixels.chunks(columns).enumerate() {
                        arena[3 + y * from.pitch..][..columns].copy_from_slice(row);
                    }
                    for (at, reduce) in [Reduce::Max, Reduce::Mean].into_iter().enumerate() {
                        let planes = vec![[3, at as u32]];
                        GlobalPool { from, reduce, planes }.run(&mut arena);
                        same(arena[at], reduced(reduce, 0, &pixels));
                    }
                    arena[3] = f32::NAN;
                    for reduce in [Reduce::Max, Reduce::Mean] {
                        GlobalPool { from, reduce, planes: vec![[3, 0]] }.run(&mut arena);
                        assert!(arena[0].is_nan());
                    }
                }
            }
        }
    }
}
