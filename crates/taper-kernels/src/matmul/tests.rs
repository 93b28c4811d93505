//! Compares products with the sums that define them, bit by bit.

use super::*;
use crate::{
    lanes::{LANES, Lanes},
    simd::halves,
};

fn wave(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| draw()).collect()
}

/// The order that the documentation of [`matmul`] states.
fn specified(a: Matrix, b: Matrix, out: &mut [f32], accumulate: bool) {
    let least_terms = if a.rows < 16 { 64 } else { 512 };
    let is_spread = a.col_step == 1 && b.row_step == 1 && a.cols >= least_terms;
    for (i, out) in out.iter_mut().enumerate() {
        let (row, col) = (i / b.cols, i % b.cols);
        let before = if accumulate { *out } else { 0.0 };
        *out = if is_spread {
            let mut lanes = [0.0f32; LANES];
            for k in 0..a.cols {
                lanes[k % LANES] = a.at(row, k).mul_add(b.at(k, col), lanes[k % LANES]);
            }
            let sum = halves(&Lanes(lanes));
            if accumulate { before + sum } else { sum }
        } else {
            (0..a.cols).fold(before, |sum, k| a.at(row, k).mul_add(b.at(k, col), sum))
        };
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Sizes around those of tiles, panels and tasks.
const SIZES: [(usize, usize, usize); 24] = [
    (1, 1, 1),
    (1, 64, 1),
    (2, 63, 3),
    (3, 65, 4),
    (7, 10, 17),
    (16, 27, 49),
    (5, 80, 31),
    (6, 129, 64),
    (13, 300, 65),
    (17, 16, 33),
    (70, 9, 100),
    (130, 70, 130),
    (1, 4096, 10),
    (4, 700, 129),
    (64, 1, 16),
    (65, 2, 15),
    (9, 1025, 8),
    (12, 513, 2),
    (18, 515, 9),
    (16, 511, 5),
    (11, 111, 5),
    (129, 130, 70),
    (2, 0, 3),
    (0, 5, 7),
];

#[test]
fn every_variant_layout_and_number_of_threads_gives_the_specified_bits() {
    for (m, k, n) in SIZES {
        let (left, right, before) = (wave(m * k, 1), wave(k * n, 2), wave(m * n, 3));
        for layout in 0..4 {
            let a = if layout & 1 == 0 {
                Matrix::new(&left, m, k)
            } else {
                Matrix::new(&left, k, m).t()
            };
            let b = if layout & 2 == 0 {
                Matrix::new(&right, k, n)
            } else {
                Matrix::new(&right, n, k).t()
            };
            for accumulate in [false, true] {
                let mut want = before.clone();
                specified(a, b, &mut want, accumulate);
                for variant in Variant::available() {
                    let mut got = before.clone();
                    matmul(variant, a, b, &mut got, accumulate);
                    assert_eq!(bits(&got), bits(&want), "{variant} {m}x{k}x{n} layout {layout}");
                }
            }
        }
    }
}

#[test]
fn tasks_and_threads_change_no_bit() {
    // More rows than a task has, for both methods.
    let (m, k, n) = (200, 520, 170);
    let (left, right) = (wave(m * k, 1), wave(k * n, 2));
    for b in [Matrix::new(&right, k, n), Matrix::new(&right, n, k).t()] {
        let a = Matrix::new(&left, m, k);
        let mut want = vec![0.0; m * n];
        specified(a, b, &mut want, false);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut got = vec![7.0; m * n];
            pool.install(|| matmul(Variant::current(), a, b, &mut got, false));
            assert_eq!(bits(&got), bits(&want), "{threads} threads");
        }
    }
}

#[test]
fn a_product_by_hand() {
    let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0];
    let mut out = [0.0; 4];
    let mut check = |a, b, accumulate, want: [f32; 4]| {
        matmul(Variant::current(), a, b, &mut out, accumulate);
        assert_eq!(out, want);
    };
    check(Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), false, [5.0, 11.0, 14.0, 23.0]);
    check(Matrix::new(&a, 3, 2).t(), Matrix::new(&b, 3, 2), false, [7.0, 18.0, 10.0, 22.0]);
    let want = [7.0 + 7.0, 18.0 + 10.0, 10.0 + 16.0, 22.0 + 22.0];
    check(Matrix::new(&a, 2, 3), Matrix::new(&b, 2, 3).t(), true, want);
}

#[test]
#[should_panic(expected = "more than memory holds")]
fn sizes_that_wrap_around_are_refused() {
    // Its square is 1 modulo 2^64.
    let wraps = (1usize << (usize::BITS - 1)) + 1;
    Matrix::new(&[1.0], wraps, wraps);
}
