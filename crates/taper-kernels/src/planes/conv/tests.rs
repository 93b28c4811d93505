//! Compares convolutions with their definition: each kernel of the tables, with each kind of row that it computes.

use super::{
    choice::{OWN, OWN_IN_FEW, SHARED, SHARED_IN_FEW},
    *,
};
use crate::{
    planes::{
        layout::Layout,
        spec::{Columns, ConvSpec, Output, WeightedPixel, WindowKind},
        testing::{Numbers, most_vectors},
    },
    simd::{Simd, launch_on},
};
use std::collections::BTreeSet;

/// A kernel: whether weights are shared, vectors, channels at a time, and the kind of rows.
type Instance = (bool, usize, usize, usize);

/// All kernels of `run`.
fn all() -> BTreeSet<Instance> {
    let mut all = BTreeSet::new();
    let many = [(false, &OWN[..]), (true, &SHARED)];
    // On this architecture, vectors of all lengths have the same number of registers.
    let few = match cfg!(target_arch = "aarch64") {
        true => [].as_slice(),
        false => &[(false, &OWN_IN_FEW[..]), (true, &SHARED_IN_FEW)],
    };
    for &(is_shared, table) in many.iter().chain(few) {
        for &(vectors, each) in table {
            let rows: &[usize] = match (vectors, each) {
                (4, 4) => &[PADDED],
                (16 | 8, 1) | (4, 6 | 3) => &[PADDED, MASKED, 1, 2, 4],
                _ => &[PADDED, MASKED],
            };
            all.extend(rows.iter().map(|&row| (is_shared, vectors, each, row)));
        }
    }
    all
}

/// A weight on an input plane, rows down, columns to the right.
struct Weight {
    value: f32,
    plane: usize,
    down: isize,
    right: i32,
}

/// Computes outputs of random weights by each kernel and by definition, and compares the whole arena.
fn check(
    variant: Variant,
    layout: Layout,
    input_columns: usize,
    shifts: &[i32],
    lists: TapLists,
    numbers: &mut Numbers,
) -> Vec<Instance> {
    let Layout { rows, columns, pitch, lanes, .. } = layout;
    let (n_in, n_out) = (2, [1, 3, 5, 25][numbers.below(4)]);
    let halo = (2 * pitch).next_multiple_of(lanes);
    let layout = Layout { halo, ..layout };
    let begin = |plane: usize| halo + plane * layout.stride();
    let zero = begin(n_in + n_out + 1);
    let arena_len = zero + layout.stride();
    let mut arena = vec![0.0; arena_len];
    for plane in 0..=n_in {
        // The last is added to some outputs.
        let filled = if plane == n_in { columns } else { input_columns };
        for y in 0..rows {
            for x in 0..filled {
                arena[begin(plane) + y * pitch + x] = numbers.next();
            }
        }
    }
    let taps: Vec<(usize, isize, i32)> = (0..n_in)
        .flat_map(|plane| (-1..=1).map(move |down| (plane, down)))
        .flat_map(|(plane, down)| shifts.iter().map(move |&right| (plane, down, right)))
        .collect();
    let mut channels: Vec<(f32, Vec<Weight>, bool)> = Vec::new();
    for o in 0..n_out {
        let mut weights = Vec::new();
        for &(plane, down, right) in &taps {
            // Lists of different lengths, one of them empty.
            if lists == TapLists::Shared || (numbers.below(3) > 0 && o != 1) {
                weights.push(Weight { value: numbers.next(), plane, down, right });
            }
        }
        channels.push((numbers.next(), weights, numbers.below(2) == 0));
    }
    let finish =
        [Epilogue::None, Epilogue::RELU, Epilogue::Leaky { slope: 0.25 }][numbers.below(3)];
    let outputs: Vec<Output> = channels
        .iter()
        .enumerate()
        .map(|(o, (bias, weights, is_added))| Output {
            at: begin(n_in + 1 + o) as u32,
            bias: *bias,
            sources: weights
                .iter()
                .map(|w| WeightedPixel {
                    weight: w.value,
                    at: begin(w.plane).wrapping_add_signed(w.down * pitch as isize) as u32,
                    shift: w.right,
                })
                .collect(),
            addends: if *is_added { vec![begin(n_in) as u32] } else { Vec::new() },
        })
        .collect();
    let mut want = arena.clone();
    for (o, (bias, weights, is_added)) in channels.iter().enumerate() {
        for y in 0..rows {
            for x in 0..columns {
                let mut sum = f64::from(*bias);
                for w in weights {
                    let row = y.checked_add_signed(w.down).filter(|&row| row < rows);
                    let column = x.checked_add_signed(w.right as isize);
                    if let (Some(row), Some(column)) = (row, column.filter(|&c| c < input_columns))
                    {
                        let pixel = arena[begin(w.plane) + row * pitch + column];
                        sum += f64::from(w.value) * f64::from(pixel);
                    }
                }
                if *is_added {
                    sum += f64::from(arena[begin(n_in) + y * pitch + x]);
                }
                let sum = match finish {
                    Epilogue::None => sum,
                    Epilogue::Clip { min, max } => sum.max(f64::from(min)).min(f64::from(max)),
                    Epilogue::Leaky { slope } => sum.max(0.0) + sum.min(0.0) * f64::from(slope),
                };
                want[begin(n_in + 1 + o) + y * pitch + x] = sum as f32;
            }
        }
    }
    let [left, right] = [-1, 1].map(|side| shifts.iter().map(|shift| side * shift).max());
    let spec = ConvSpec {
        layout: &layout,
        columns: Columns::Shifted(input_columns),
        reach: [left, right].map(|reach| reach.unwrap_or(0).max(0) as usize),
        outputs: &outputs,
        finish,
        windows: WindowKind::Any,
        arena: arena_len,
        zero: zero as u32,
    };
    // The kernel must overwrite old values.
    for o in 0..n_out {
        for y in 0..rows {
            arena[begin(n_in + 1 + o) + y * pitch..][..columns].fill(7.0);
        }
    }
    let mut instances = Vec::new();
    let mut bits: Option<Vec<u32>> = None;
    for tile in Tile::choices(&spec, lists) {
        let conv = PlaneConv::new(variant, &spec, tile);
        let mut arena = arena.clone();
        // Blocks in two parts, since threads may compute them in any order.
        let middle = conv.n_blocks() / 2;
        conv.run(&mut arena, middle..conv.n_blocks());
        conv.run(&mut arena, 0..middle);
        let instance = (lists == TapLists::Shared, conv.vectors, conv.each, conv.row);
        for (i, (got, want)) in arena.iter().zip(&want).enumerate() {
            assert!(
                (got - want).abs() <= 1e-5 * want.abs().max(1.0),
                "{variant}, {instance:?}, {layout:?}, {input_columns} columns, shifts {shifts:?}: {i}: {got} {want}"
            );
        }
        // All tiles compute the same bits.
        let arena: Vec<u32> = arena.into_iter().map(f32::to_bits).collect();
        assert!(*bits.get_or_insert_with(|| arena.clone()) == arena, "{variant}, {instance:?}");
        instances.push(instance);
    }
    instances
}

/// Whether there are tiles for rows of `vectors` vectors.
fn has_tiles(lanes: usize, vectors: usize) -> bool {
    let has_many = lanes == 16 || cfg!(target_arch = "aarch64");
    let table = if has_many { &OWN[..] } else { &OWN_IN_FEW[..] };
    table.iter().any(|&choice| choice != (4, 4) && choice.0.is_multiple_of(vectors))
}

#[test]
fn each_kernel_computes_its_definition() {
    let mut numbers = Numbers(1);
    let every: &[&[i32]] = &[&[0], &[-1, 0, 1], &[-2, -1, 0], &[1, 2], &[-3, 3]];
    let mut seen = BTreeSet::new();
    for variant in Variant::available() {
        for &lanes in variant.lanes() {
            // Rows of whole vectors, and of parts of one.
            let parts = [lanes / 8, lanes / 4, lanes / 2].into_iter().filter(|&pitch| pitch > 0);
            let pitches = parts.chain((1..=16).map(|vectors| vectors * lanes));
            for pitch in pitches.collect::<BTreeSet<usize>>() {
                let per_row = (pitch / lanes).max(1);
                for rows in [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 17, 24, 32] {
                    let most = most_vectors(variant, lanes).min(48) * lanes;
                    if rows * pitch < lanes || rows * pitch > most {
                        continue;
                    }
                    for columns in [pitch, pitch.saturating_sub(1).max(1), (pitch / 2).max(1)] {
                        for &shifts in every {
                            if shifts != [0] && !has_tiles(lanes, per_row) {
                                continue;
                            }
                            for lists in [TapLists::Own, TapLists::Shared] {
                                let layout = Layout { rows, columns, pitch, halo: 0, lanes };
                                // Planes that are read may have more columns.
                                let input = columns + numbers.below(pitch - columns + 1);
                                seen.extend(check(
                                    variant,
                                    layout,
                                    input,
                                    shifts,
                                    lists,
                                    &mut numbers,
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    if Variant::available().any(|variant| variant.lanes()[0] == 16) || cfg!(target_arch = "aarch64")
    {
        let dead: Vec<_> = all().difference(&seen).copied().collect();
        assert!(dead.is_empty(), "no variant uses {dead:?}");
    }
    let unknown: Vec<_> = seen.difference(&all()).copied().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

const LAYOUT: Layout = Layout { rows: 2, columns: 16, pitch: 16, halo: 0, lanes: 16 };

/// A convolution in an arena of 64 floats; planes have 32.
fn small(outputs: &Vec<Output>, zero: u32) -> PlaneConv {
    let columns = Columns::Shifted(16);
    let spec = ConvSpec {
        layout: &LAYOUT,
        columns,
        reach: [0, 1],
        outputs,
        finish: Epilogue::None,
        windows: WindowKind::Any,
        arena: 64,
        zero,
    };
    PlaneConv::new(Variant::Scalar, &spec, Tile::choices(&spec, TapLists::Own)[0])
}

fn is_refused(source: WeightedPixel, output: u32, addend: u32, zero: u32) -> bool {
    let outputs =
        vec![Output { at: output, bias: 0.0, sources: vec![source], addends: vec![addend] }];
    std::panic::catch_unwind(|| small(&outputs, zero)).is_err()
}

#[test]
fn planes_outside_of_the_arena_are_refused() {
    let source = |at: u32| WeightedPixel { weight: 1.0, at, shift: 0 };
    assert!(!is_refused(source(32), 32, 32, 32));
    for at in [33, 64, u32::MAX / 4, u32::MAX] {
        assert!(is_refused(source(at), 0, 0, 0) && is_refused(source(0), at, 0, 0));
        assert!(is_refused(source(0), 0, at, 0) && is_refused(source(0), 0, 0, at));
    }
}

#[test]
fn sources_outside_of_the_reach_are_refused() {
    let shifted = |shift: i32| is_refused(WeightedPixel { weight: 1.0, at: 0, shift }, 0, 0, 0);
    assert!(!shifted(0) && !shifted(1));
    assert!(shifted(-1) && shifted(2));
}

#[test]
#[should_panic(expected = "do not fit")]
fn a_smaller_arena_is_refused() {
    small(&vec![Output::default()], 0).run(&mut [0.0; 63], 0..1);
}

/// Applies an epilogue to vectors of sums.
struct Applied<'a> {
    finish: Epilogue,
    values: &'a mut [f32],
}

impl Kernel for Applied<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for values in self.values.chunks_exact_mut(S::WIDTH) {
            // SAFETY: the caller guarantees the instruction set; a chunk is a vector.
            unsafe {
                let mut vectors = [S::load(values.as_ptr())];
                self.finish.apply::<S, 1>(true, &mut vectors);
                S::store(values.as_mut_ptr(), vectors[0]);
            }
        }
    }
}

#[test]
fn epilogues_match_their_definition_and_flush_denormals() {
    let tiny = f32::MIN_POSITIVE;
    let mut sums =
        vec![f32::NAN, f32::INFINITY, 0.0, tiny, tiny / 2.0, tiny * 5.0, 1e-45, 1.0, 7.0];
    sums.extend(sums.clone().iter().map(|v| -v));
    sums.resize(sums.len().next_multiple_of(16), 0.25);
    let clip = |min: f32, max: f32| Epilogue::Clip { min, max };
    let finishes = [
        Epilogue::None,
        Epilogue::RELU,
        clip(0.0, 6.0),
        clip(-1.0, 1.0),
        clip(tiny / 4.0, f32::INFINITY),
        clip(f32::NEG_INFINITY, -tiny / 4.0),
        Epilogue::Leaky { slope: 0.25 },
        Epilogue::Leaky { slope: -2.0 },
    ];
    for finish in finishes {
        let want = sums.iter().map(|&sum| {
            let value = match finish {
                Epilogue::None => sum,
                _ if sum.is_nan() => sum,
                Epilogue::Clip { min, max } => sum.max(min).min(max),
                Epilogue::Leaky { slope } if sum < 0.0 => sum * slope,
                Epilogue::Leaky { .. } => sum,
            };
            if value.is_subnormal() { 0.0 } else { value }
        });
        let want: Vec<f32> = want.collect();
        for variant in Variant::available() {
            for &lanes in variant.lanes() {
                let mut got = sums.clone();
                launch_on(variant, lanes, Applied { finish, values: &mut got });
                for ((got, want), sum) in got.iter().zip(&want).zip(&sums) {
                    let is_same = got == want || got.is_nan() && want.is_nan();
                    assert!(is_same, "{finish:?} of {sum:e}, {variant}, {lanes} lanes: {got:e}");
                }
            }
        }
    }
}
