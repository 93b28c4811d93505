//! Compares depthwise convolutions with `PlaneConv`, bit by bit.

use super::*;
use crate::planes::{
    PlaneConv, Tile,
    testing::{Numbers, most_vectors},
};

/// Compares both kernels for a window on planes with random pixels.
fn check(variant: Variant, layout: Layout, is_strided: bool, numbers: &mut Numbers) {
    let Layout { rows, columns, pitch, lanes, .. } = layout;
    let halo = (2 * pitch).next_multiple_of(lanes);
    let layout = Layout { halo, ..layout };
    let n_out = [1, 2, 5][numbers.below(3)];
    let n_in = if is_strided { 4 * n_out } else { n_out };
    let begin = |plane: usize| halo + plane * layout.stride();
    let zero = begin(n_in + n_out);
    let len = zero + layout.stride();
    let mut arena = vec![0.0; len];
    for plane in 0..n_in {
        for y in 0..rows {
            for x in 0..columns {
                arena[begin(plane) + y * pitch + x] = numbers.next();
            }
        }
    }
    let outputs: Vec<Output> = (0..n_out)
        .map(|o| {
            let mut sources = Vec::new();
            for ky in 0..3i32 {
                for kx in 0..3i32 {
                    // The plane of a phase, or the one plane, and its pixel.
                    let (plane, dy, dx) = match is_strided {
                        true => {
                            let (y, x) = (ky - 1, kx - 1);
                            let phase = y.rem_euclid(2) * 2 + x.rem_euclid(2);
                            (4 * o + phase as usize, y.div_euclid(2), x.div_euclid(2))
                        }
                        false => (o, ky - 1, kx - 1),
                    };
                    let at = begin(plane) as i32 + dy * pitch as i32;
                    let weight = if numbers.below(3) == 0 { 0.0 } else { numbers.next() };
                    sources.push(WeightedPixel { weight, at: at as u32, shift: dx });
                }
            }
            let at = begin(n_in + o) as u32;
            Output { at, bias: numbers.next(), sources, addends: Vec::new() }
        })
        .collect();
    let finish =
        [Epilogue::None, Epilogue::RELU, Epilogue::Clip { min: -0.5, max: 0.5 }][numbers.below(3)];
    let spec = ConvSpec {
        layout: &layout,
        columns: Columns::Shifted(columns),
        reach: [1, if is_strided { 0 } else { 1 }],
        outputs: &outputs,
        finish,
        windows: WindowKind::Any,
        arena: len,
        zero: zero as u32,
    };
    let mut want = arena.clone();
    let conv = PlaneConv::new(variant, &spec, Tile::choices(&spec, TapLists::Own)[0]);
    conv.run(&mut want, 0..conv.n_blocks());
    let depthwise = Depthwise::new(variant, &spec).expect("a window");
    // The kernel must overwrite old values.
    arena[begin(n_in)..begin(n_in) + columns].fill(7.0);
    let is_right = |arena: &[f32], what: &str| {
        for (i, (got, want)) in arena.iter().zip(&want).enumerate().skip(begin(n_in)) {
            assert!(
                got.to_bits() == want.to_bits(),
                "{variant}, {layout:?}, {what}: {i}: {got} {want}"
            );
        }
    };
    let before = arena.clone();
    depthwise.run(&mut arena);
    is_right(&arena, if is_strided { "strided" } else { "whole" });
    assert_eq!(arena[..begin(n_in)], before[..begin(n_in)]);
    if !is_strided && layout.vectors() == 1 {
        // The memory around planes does not matter if they are read alone.
        arena = before;
        for plane in 0..n_in {
            arena[begin(plane) - halo..begin(plane)].fill(f32::NAN);
        }
        let spec = ConvSpec { windows: WindowKind::Alone, ..spec };
        Depthwise::new(variant, &spec).expect("a window").run(&mut arena);
        is_right(&arena, "alone");
    }
}

#[test]
fn windows_have_the_bits_of_any_convolution() {
    let mut numbers = Numbers(1);
    for variant in Variant::available() {
        for &lanes in variant.lanes() {
            let parts = [lanes / 8, lanes / 4, lanes / 2].into_iter().filter(|&pitch| pitch > 0);
            for pitch in parts.chain([lanes, 2 * lanes, 3 * lanes, 4 * lanes]) {
                for rows in [1, 2, 3, 4, 5, 7, 8, 14, 16] {
                    for columns in [pitch, pitch.saturating_sub(1).max(1), (pitch / 2).max(1)] {
                        let most = most_vectors(variant, lanes).saturating_mul(lanes);
                        if (lanes..=most).contains(&(rows * pitch)) {
                            let layout = Layout { rows, columns, pitch, halo: 0, lanes };
                            check(variant, layout, false, &mut numbers);
                            check(variant, layout, true, &mut numbers);
                        }
                    }
                }
            }
        }
    }
}

/// Runs a window of every second pixel of planes, and compares the whole arena with the definition, bit by bit.
fn check_strided(variant: Variant, from: Layout, to: Layout, numbers: &mut Numbers) {
    let halo = from.pitch + Depthwise::reads(&from, &to);
    let [from, to] = [from, to].map(|layout| Layout { halo, ..layout });
    let n = [1, 3][numbers.below(2)];
    let begin = |plane: usize| halo + plane * from.stride();
    let written = |plane: usize| begin(n) + plane * to.stride();
    let len = written(n);
    let mut arena = vec![0.0; len];
    for plane in 0..n {
        for y in 0..from.rows {
            for x in 0..from.columns {
                arena[begin(plane) + y * from.pitch + x] = numbers.next();
            }
        }
    }
    let windows: Vec<(f32, Vec<f32>)> = (0..n).map(|_| (numbers.next(), numbers.many(9))).collect();
    let outputs: Vec<Output> = windows
        .iter()
        .enumerate()
        .map(|(o, (bias, weights))| {
            let source = |i: usize| WeightedPixel {
                weight: weights[i],
                at: (begin(o) + i / 3 * from.pitch - from.pitch) as u32,
                shift: (i % 3) as i32 - 1,
            };
            let sources = (0..9).map(source).collect();
            Output { at: written(o) as u32, bias: *bias, sources, addends: Vec::new() }
        })
        .collect();
    let mut want = arena.clone();
    for (o, (bias, weights)) in windows.iter().enumerate() {
        let pixel = |y: usize, x: usize| {
            let (y, x) = (y.checked_sub(1)?, x.checked_sub(1)?);
            (y < from.rows && x < from.columns).then(|| arena[begin(o) + y * from.pitch + x])
        };
        for y in 0..to.rows {
            for x in 0..to.columns {
                let add = |sum: f32, (ky, kx): (usize, usize)| {
                    let pixel = pixel(2 * y + ky, 2 * x + kx).unwrap_or(0.0);
                    weights[3 * ky + kx].mul_add(pixel, sum)
                };
                let others = [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)];
                let left = [(0, 0), (1, 0), (2, 0)].into_iter().fold(0.0, add);
                let sum = others.into_iter().fold(*bias, add) + left;
                want[written(o) + y * to.pitch + x] = sum.max(0.0);
            }
        }
    }
    let spec = ConvSpec {
        layout: &to,
        columns: Columns::Shifted(from.columns),
        reach: [1, 1],
        outputs: &outputs,
        finish: Epilogue::RELU,
        windows: WindowKind::Strided(from),
        arena: len,
        zero: 0,
    };
    arena[written(0)] = 7.0;
    Depthwise::new(variant, &spec).expect("a window").run(&mut arena);
    for (i, (got, want)) in arena.iter().zip(&want).enumerate() {
        assert!(got == want, "{variant}, {from:?} to {to:?}: {i}: {got} {want}");
    }
}

#[test]
fn windows_of_every_second_pixel_are_their_definition() {
    let mut numbers = Numbers(1);
    for variant in Variant::available() {
        let mut n = 0;
        for &lanes in variant.lanes() {
            let parts = [lanes / 4, lanes / 2].into_iter().filter(|&pitch| pitch > 1);
            for pitch in parts.chain([lanes, 2 * lanes, 4 * lanes, 6 * lanes]) {
                for rows in [1, 2, 3, 4, 6, 7, 8, 14, 16] {
                    for columns in [pitch, pitch - 1, pitch / 2 + 1] {
                        let from = Layout { rows, columns, pitch, halo: 0, lanes };
                        let (rows, columns) = (rows.div_ceil(2), columns.div_ceil(2));
                        // The longest vectors that a plane fills.
                        let floats = (rows * pitch / 2).next_power_of_two();
                        let of_results = variant.lanes().iter().copied().find(|&l| l <= floats);
                        let Some(of_results) = of_results.filter(|&l| l <= lanes) else { continue };
                        let to =
                            Layout { rows, columns, pitch: pitch / 2, halo: 0, lanes: of_results };
                        if columns > 0 && Depthwise::strides(&from, &to) {
                            check_strided(variant, from, to, &mut numbers);
                            n += 1;
                        }
                    }
                }
            }
        }
        assert!(n >= 50, "{variant}: {n} layouts");
    }
}

/// Windows on a plane of 2×4 pixels; `change` alters the second output.
fn of(change: impl Fn(&mut Output)) -> Option<Depthwise> {
    in_layout(Layout { rows: 2, columns: 4, pitch: 4, halo: 4, lanes: 4 }, change)
}

fn in_layout(layout: Layout, change: impl Fn(&mut Output)) -> Option<Depthwise> {
    let source = |i: usize| WeightedPixel {
        weight: 1.0,
        at: (4 + 4 * (i / 3)) as u32 - 4,
        shift: (i % 3) as i32 - 1,
    };
    let sources = (0..9).map(source).collect();
    let mut other = Output { at: 24, bias: 0.0, sources, addends: Vec::new() };
    let first = other.clone();
    change(&mut other);
    let spec = ConvSpec {
        layout: &layout,
        columns: Columns::Shifted(4),
        reach: [1, 1],
        outputs: &vec![first, other],
        finish: Epilogue::None,
        windows: WindowKind::Any,
        arena: 32,
        zero: 0,
    };
    Depthwise::new(Variant::Scalar, &spec)
}

#[test]
fn other_sources_than_windows_are_rejected() {
    assert!(of(|_| ()).is_some());
    // Rows of one and a half vectors.
    let layout = Layout { rows: 2, columns: 4, pitch: 6, halo: 4, lanes: 4 };
    assert!(in_layout(layout, |_| ()).is_none());
    assert!(of(|o| o.sources.iter_mut().for_each(|s| s.at += 4)).is_some());
    assert!(of(|o| o.sources[4].at += 1).is_none());
    assert!(of(|o| o.sources[0].shift = 0).is_none());
    assert!(of(|o| o.addends.push(0)).is_none());
    assert!(of(|o| o.sources.truncate(8)).is_none());
    assert!(of(|o| o.sources.clear()).is_none());
}

#[test]
fn planes_outside_of_the_arena_are_refused() {
    let is_refused = |change: fn(&mut Output)| std::panic::catch_unwind(|| of(change)).is_err();
    assert!(!is_refused(|o| o.sources.iter_mut().for_each(|s| s.at += 16)));
    assert!(is_refused(|o| o.sources.iter_mut().for_each(|s| s.at += 17)));
    assert!(is_refused(|o| o.at = 25));
}
