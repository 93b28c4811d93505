//! Speed of one layer.
use std::time::Instant;
use taper_kernels::{Variant, planes::*};

fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let (c, h, w, k, pct, lanes) = (a[0], a[1], a[2], a[3], a[4], a[5]);
    let pitch = if w >= lanes { w.div_ceil(lanes) * lanes } else { w.next_power_of_two() };
    let halo = pitch.max(lanes);
    let layout = Layout { rows: h, columns: w, pitch, halo, lanes };
    let plane = layout.stride();
    let start = |t: usize, ch: usize| (halo + (t * c + ch) * plane) as u32;
    let zero = start(2, 0);
    let arena_len = zero as usize + plane * 2 + 64;
    let mut memory = vec![0f32; arena_len + 16];
    let skip = memory.as_ptr().align_offset(64);
    let arena = &mut memory[skip..skip + arena_len];
    for ch in 0..c {
        for y in 0..h {
            for x in 0..w {
                arena[start(0, ch) as usize + y * pitch + x] =
                    ((ch * 7 + y * 3 + x) % 11) as f32 - 5.0;
            }
        }
    }
    let mut seed = 1u64;
    let mut nnz = 0;
    let outs: Vec<Output> = (0..c)
        .map(|o| {
            let mut sources = vec![];
            for i in 0..c {
                for dy in 0..k {
                    for dx in 0..k {
                        seed = seed
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        if (seed >> 33) % 1000 >= pct as u64 {
                            continue;
                        }
                        nnz += 1;
                        let dy = dy as i64 - (k / 2) as i64;
                        sources.push(Source {
                            weight: 0.01,
                            at: (start(0, i) as i64 + dy * pitch as i64) as u32,
                            shift: dx as i32 - (k / 2) as i32,
                        });
                    }
                }
            }
            Output { at: start(1, o), bias: 0.1, sources, addends: vec![] }
        })
        .collect();
    for variant in Variant::available() {
        if (variant.name() == "avx2" && lanes > 8) || variant.name() == "scalar" {
            continue;
        }
        let conv = Conv::new(
            variant,
            &layout,
            w,
            &outs,
            Finish::RELU,
            if pct == 1000 { Packing::Shared } else { Packing::Own },
            arena_len,
            zero,
        );
        let mut best = f64::MAX;
        for _ in 0..2000 {
            let t = Instant::now();
            conv.run(arena, 0..conv.n_blocks());
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!(
            "{variant} {} nnz {nnz}: {:.2} us {:.1} GFLOP/s",
            conv.name(),
            best * 1e6,
            2.0 * (nnz * h * w) as f64 / best * 1e-9
        );
    }
}
