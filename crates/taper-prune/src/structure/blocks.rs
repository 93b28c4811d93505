//! Blocks of the weight matrix.

use super::{
    Demand, Scored, Structure,
    units::{self, Unit},
};
use crate::cut::Chosen;
use taper_core::LayerInfo;

/// Blocks of `rows` × `columns` weights of the matrix `[first axis, all other axes]`, ranked by the mean magnitude of
/// their weights. Blocks at the edges may be smaller. At most the requested number of weights is kept, but at least one
/// block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Rows of a block, at least 1.
    pub rows: usize,
    /// Columns of a block, at least 1.
    pub columns: usize,
}

impl Blocks {
    /// The blocks of a layer, row by row.
    pub(super) fn of(&self, layer: &Scored) -> Vec<Unit> {
        let n_rows = layer.info.shape.first().copied().unwrap_or(1).max(1);
        let n_columns = layer.scores.len() / n_rows;
        let begins = |n: usize, size: usize| (0..n).step_by(size);
        let mut blocks = Vec::new();
        for row in begins(n_rows, self.rows) {
            for column in begins(n_columns, self.columns) {
                let end = n_columns.min(column + self.columns);
                let rows = row..n_rows.min(row + self.rows);
                blocks.push(rows.map(|r| r * n_columns + column..r * n_columns + end).collect());
            }
        }
        blocks
    }
}

impl Structure for Blocks {
    fn check(&self, _layer: &LayerInfo) -> Result<(), String> {
        let Self { rows, columns } = self;
        if *rows == 0 || *columns == 0 {
            return Err(format!(
                "blocks of {rows} × {columns} weights are empty; give at least 1 × 1"
            ));
        }
        Ok(())
    }

    fn choose(&self, layers: &[Scored], demand: &Demand) -> Chosen {
        units::choose(layers, demand, units::mean, |layer| self.of(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chosen, info};
    use super::*;

    fn kept(scores: &[f32], n_keep: u64) -> Vec<usize> {
        let (info, pairs) = (info(&[1, scores.len()]), Blocks { rows: 1, columns: 2 });
        chosen(&pairs, &[(&info, scores)], n_keep).remove(0)
    }

    #[test]
    fn the_blocks_of_the_largest_mean_are_kept_as_long_as_they_fit() {
        let scores = [1.0, -1.0, 2.0, 2.0, 0.5];
        assert_eq!(kept(&scores, 4), [0, 1, 2, 3]);
        assert_eq!(
            kept(&scores, 3),
            [2, 3],
            "the next block does not fit, and all later ones are pruned"
        );
        assert_eq!(kept(&scores, 1), [2, 3], "at least one block");
        // A block at the edge is smaller: its mean is the largest, but not its sum.
        assert_eq!(kept(&[1.0, 1.0, 0.5, 0.5, 1.5], 1), [4]);
        assert_eq!(kept(&[1.0; 6], 4), [0, 1, 2, 3], "ties by index");
    }
}
