//! Products of row-major matrices, single-threaded: the callers split their work themselves.

/// A row-major matrix in a slice, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(rows.checked_mul(cols), Some(data.len()), "a {rows}x{cols} matrix");
        Self { data, rows, cols, transposed: false }
    }

    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }

    /// Distance between neighbours in a row, and between rows.
    fn strides(self) -> (isize, isize) {
        if self.transposed { (self.rows as isize, 1) } else { (1, self.cols as isize) }
    }
}

/// `out = a·b`, or `out += a·b`.
pub(crate) fn matmul(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], accumulate: bool) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    assert_eq!(a.rows.checked_mul(b.cols), Some(out.len()), "output of {}x{}", a.rows, b.cols);
    if out.is_empty() {
        return;
    }
    let ((a_col, a_row), (b_col, b_row)) = (a.strides(), b.strides());
    // SAFETY: the constructors and the asserts above tie each pointer's slice to its dimensions and strides,
    // and `out` is borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_either_side_transposed() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0];
        let mut out = [0.0; 4];
        matmul(Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), &mut out, false);
        assert_eq!(out, [5.0, 11.0, 14.0, 23.0]);
        matmul(Matrix::new(&a, 3, 2).t(), Matrix::new(&b, 3, 2), &mut out, false);
        assert_eq!(out, [7.0, 18.0, 10.0, 22.0]);
        matmul(Matrix::new(&a, 2, 3), Matrix::new(&b, 2, 3).t(), &mut out, true);
        assert_eq!(out, [7.0 + 7.0, 18.0 + 10.0, 10.0 + 16.0, 22.0 + 22.0]);
    }

    #[test]
    #[should_panic(expected = "matrix")]
    fn sizes_that_wrap_around_are_refused() {
        // Its square is 1 modulo 2^64.
        let wraps = (1usize << (usize::BITS - 1)) + 1;
        Matrix::new(&[1.0], wraps, wraps);
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let mut out = [7.0; 2];
        matmul(Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 1), &mut out, false);
        assert_eq!(out, [0.0; 2]);
    }
}
