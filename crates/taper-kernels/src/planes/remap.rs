//! Planes whose pixels are those of other planes in other places: padding, cropping, every other pixel, repeated pixels.

use super::layout::Layout;

/// Where a row or column comes from; none for those that are filled.
pub type Origin = Option<u32>;

/// A copy of planes, pixel by pixel.
#[derive(Clone, Debug)]
pub struct Remap {
    /// Layout of the planes that are read.
    pub from: Layout,
    /// Layout of the planes that are written.
    pub to: Layout,
    /// The row of the source for each row.
    pub rows: Vec<Origin>,
    /// The column of the source for each column.
    pub columns: Vec<Origin>,
    /// Where nothing comes from.
    pub fill: f32,
    /// Begin of the source and of the result for each plane, in the arena.
    pub planes: Vec<[u32; 2]>,
}

impl Remap {
    /// Floats of scratch memory that a run takes.
    pub fn scratch(&self) -> usize {
        self.from.columns
    }

    /// Copies, with scratch memory of any content.
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
        let begin = self.columns[first].unwrap_or(0) as usize;
        let end = self.columns[last].unwrap_or(0) as usize;
        let n = last + 1 - first;
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
