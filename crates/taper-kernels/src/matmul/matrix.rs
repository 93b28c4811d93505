//! Matrices in slices.

use crate::sizes::product;

/// A matrix in a slice: row-major, or the transpose of one.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Contains the index `row·row_step + column·column_step` of every row and column.
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_step: usize,
    pub(super) col_step: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If `data` does not have `rows·cols` values.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), product([rows, cols]), "a {rows}x{cols} matrix");
        Self { data, rows, cols, row_step: cols, col_step: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
            ..self
        }
    }

    /// At most `n` rows from `first` on.
    pub(super) fn rows_from(self, first: usize, n: usize) -> Self {
        let rows = n.min(self.rows - first);
        let skipped = if rows * self.cols == 0 { 0 } else { first * self.row_step };
        Self { data: &self.data[skipped..], rows, ..self }
    }

    pub(super) fn at(&self, row: usize, col: usize) -> f32 {
        self.data[row * self.row_step + col * self.col_step]
    }
}
