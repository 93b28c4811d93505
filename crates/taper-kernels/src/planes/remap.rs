//! Copies of planes with rearranged pixels: padding, cropping, every other pixel, repeated pixels.

use super::layout::Layout;

/// The source of a row or column; `None` for rows and columns of fill values.
pub type ReadFrom = Option<u32>;

/// A copy of planes, pixel by pixel.
#[derive(Clone, Debug)]
pub struct Remap {
    /// Layout of the planes that are read.
    pub from: Layout,
    /// Layout of the planes that are written.
    pub to: Layout,
    /// The row of the source for each row.
    pub rows: Vec<ReadFrom>,
    /// The column of the source for each column.
    pub columns: Vec<ReadFrom>,
    /// The value of pixels without a source.
    pub fill: f32,
    /// Where the source and the result of each plane begin in the arena.
    pub planes: Vec<[u32; 2]>,
}

impl Remap {
    /// Floats of scratch memory that a run needs.
    pub fn scratch(&self) -> usize {
        self.from.columns
    }

    /// Copies the planes. The content of `scratch` does not matter.
    ///
    /// # Panics
    /// If a plane lies outside of the arena, or there is too little scratch memory.
    pub fn run(&self, arena: &mut [f32], scratch: &mut [f32]) {
        let first = self.columns.iter().position(Option::is_some);
        let last = self.columns.iter().rposition(Option::is_some);
        let (Some(first), Some(last)) = (first, last) else {
            self.planes.iter().for_each(|&[_, to]| self.fill(arena, to));
            return;
        };
        let sources = || self.columns.iter().flatten().map(|&column| column as usize);
        let (begin, end) = (sources().min().unwrap_or(0), sources().max().unwrap_or(0));
        let n = last + 1 - first;
        // Even steps ascend; all other orders are copied pixel by pixel.
        let step = if n > 1 { (end - begin) / (n - 1) } else { 1 };
        let is_even = step > 0
            && (first..=last).all(|c| self.columns[c] == Some((begin + (c - first) * step) as u32));
        let row = &mut scratch[..end + 1 - begin];
        for &[from, to] in &self.planes {
            for (y, &origin) in self.rows.iter().enumerate() {
                let to = to as usize + y * self.to.pitch;
                let Some(origin) = origin else {
                    arena[to..to + self.columns.len()].fill(self.fill);
                    continue;
                };
                let from = from as usize + origin as usize * self.from.pitch;
                arena[to..to + first].fill(self.fill);
                if is_even && step == 1 {
                    arena.copy_within(from + begin..from + begin + n, to + first);
                } else if is_even {
                    row.copy_from_slice(&arena[from + begin..=from + end]);
                    let out = &mut arena[to + first..=to + last];
                    if step == 2 {
                        let (pairs, rest) = row.as_chunks::<2>();
                        out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = pair[0]);
                        if let [last] = rest {
                            out[n - 1] = *last;
                        }
                    } else {
                        out.iter_mut().zip(row.chunks(step)).for_each(|(out, from)| *out = from[0]);
                    }
                } else {
                    row.copy_from_slice(&arena[from + begin..=from + end]);
                    for c in first..=last {
                        arena[to + c] = match self.columns[c] {
                            Some(column) => row[column as usize - begin],
                            None => self.fill,
                        };
                    }
                }
                arena[to + last + 1..to + self.columns.len()].fill(self.fill);
            }
        }
    }

    fn fill(&self, arena: &mut [f32], to: u32) {
        for y in 0..self.rows.len() {
            let to = to as usize + y * self.to.pitch;
            arena[to..to + self.columns.len()].fill(self.fill);
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::planes::testing::Numbers;

    fn layout(rows: usize, columns: usize, pitch: usize) -> Layout {
        Layout { rows, columns, pitch, halo: 0, lanes: 1 }
    }

    fn check(from: Layout, rows: &[ReadFrom], columns: &[ReadFrom], numbers: &mut Numbers) {
        let to = layout(rows.len(), columns.len(), columns.len() + 2);
        let n_from = from.rows * from.pitch;
        let begin = |plane: usize| n_from * 2 + plane * to.rows * to.pitch;
        let mut arena = numbers.many(begin(2));
        let mut want = arena.clone();
        for plane in 0..2 {
            for (y, row) in rows.iter().enumerate() {
                for (x, column) in columns.iter().enumerate() {
                    let pixel = row.zip(*column).map(|(row, column)| {
                        arena[plane * n_from + row as usize * from.pitch + column as usize]
                    });
                    want[begin(plane) + y * to.pitch + x] = pixel.unwrap_or(0.5);
                }
            }
        }
        let planes = (0..2).map(|plane| [(plane * n_from) as u32, begin(plane) as u32]).collect();
        let (rows, columns) = (rows.to_vec(), columns.to_vec());
        let remap = Remap { from, to, rows, columns, fill: 0.5, planes };
        remap.run(&mut arena, &mut vec![f32::NAN; remap.scratch()]);
        assert_eq!(arena, want, "{remap:?}");
    }

    #[test]
    fn copies_are_those_of_their_tables() {
        let mut numbers = Numbers(1);
        for columns in 1..=9u32 {
            let from = layout(3, columns as usize, columns as usize + 1);
            let rows = [None, Some(2), Some(0), None, Some(0)];
            let each = |step: usize, first: u32| (first..columns).step_by(step).map(Some);
            let border = |n: usize| std::iter::repeat_n(None, n);
            for (left, right) in [(0, 0), (1, 0), (0, 2), (3, 1)] {
                for step in 1..=4 {
                    for first in 0..columns.min(step as u32) {
                        let inner = each(step, first);
                        let columns: Vec<ReadFrom> =
                            border(left).chain(inner).chain(border(right)).collect();
                        check(from, &rows, &columns, &mut numbers);
                    }
                }
                // Repeated pixels.
                let twice = (0..2 * columns).map(|column| Some(column / 2));
                let columns: Vec<ReadFrom> =
                    border(left).chain(twice).chain(border(right)).collect();
                check(from, &rows, &columns, &mut numbers);
            }
            let back: Vec<ReadFrom> = (0..columns).rev().map(Some).collect();
            check(from, &rows, &back, &mut numbers);
            // A gap, and no source at all.
            let gap = [Some(0), None, Some(columns - 1)];
            check(from, &rows, &gap, &mut numbers);
            check(from, &rows, &[None, None], &mut numbers);
            check(from, &[None], &gap, &mut numbers);
        }
    }

    #[test]
    #[should_panic(expected = "range")]
    fn planes_outside_of_the_arena_are_refused() {
        let same = layout(1, 4, 4);
        let columns = (0..4).map(Some).collect();
        let planes = vec![[5, 0]];
        let remap = Remap { from: same, to: same, rows: vec![Some(0)], columns, fill: 0.0, planes };
        remap.run(&mut [0.0; 8], &mut [0.0; 4]);
    }
}
