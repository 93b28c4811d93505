//! tmp
use std::time::Instant;
use taper_kernels::{conv::{ConvShape, blocked::*}, lanes::Lanes, mask::Mask};
fn main() {
    let threads: usize = std::env::args().nth(1).map_or(1, |a| a.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    for (ci, co, hw, stride) in [(32, 32, 32, 1), (64, 64, 16, 1), (128, 128, 8, 1), (32,64,32,2), (3,32,32,1)] {
        let shape = ConvShape { height: hw, width: hw, kernel: (3, 3), padding: 1, stride, ..ConvShape::linear(128, ci, co) };
        let conv = Conv::new(shape);
        let gflop = shape.macs_per_image() as f64 * 128.0 * 2.0 / 1e9;
        let x = vec![Lanes([0.5; 16]); conv.input().len()];
        let g = vec![Lanes([0.25; 16]); conv.output().len()];
        let mut out = vec![Lanes::ZERO; conv.output().len()];
        let mut gx = vec![Lanes::ZERO; conv.input().len()];
        let mut gw = vec![0.0; shape.n_weights()];
        let time = |f: &mut dyn FnMut()| { f(); let mut best = f64::MAX; for _ in 0..7 { let t = Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); } best * 1e3 };
        let report = |name: &str, ms: f64, density: f64| println!("{ci}->{co} {hw} s{stride} {name:24} {ms:7.2} ms  {:6.1} GFLOP/s", gflop * density / ms * 1e3);
        for density in [1.0, 0.2, 0.1, 0.05, 0.02] {
            let mut s = 12345u64;
            let w: Vec<f32> = (0..shape.n_weights()).map(|_| { s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); if ((s >> 33) as f64 / 2f64.powi(31)) < density { 0.01 } else { 0.0 } }).collect();
            for packing in [Packing::Dense, Packing::Sparse] {
                if packing == Packing::Dense && density < 1.0 { continue }
                let p = conv.pack(&w, packing);
                let pt = conv.pack_transposed(&w, packing);
                report(&format!("fwd {packing:?} {density}"), time(&mut || { conv.forward(&p, Source::Plain(&x), None, &mut out); }), density);
                report(&format!("dx {packing:?} {density}"), time(&mut || { conv.backward(Source::Plain(&x), GradSource::Plain(&g), Some(InputGrad { weights: &pt, out: &mut gx, is_added: false }), None); }), density);
            }
            let mask = Mask::above(&w, 0.0);
            let at = if density == 1.0 { GradAt::All } else { GradAt::Masked(&mask) };
            report(&format!("dw {density}"), time(&mut || { conv.backward(Source::Plain(&x), GradSource::Plain(&g), None, Some(WeightGrad { at, out: &mut gw, bias: None })); }), density);
        }
    }
}
