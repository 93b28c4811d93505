//! Runs an ONNX file on images of zeros and prints the time of each layer: latency FILE.onnx [BATCH] [THREADS].

use std::{error::Error, time::Instant};
use taper_infer::{Engine, Options, onnx};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.first().ok_or("usage: latency FILE.onnx [BATCH] [THREADS]")?;
    let number = |i: usize| args.get(i).map_or(Ok(1), |arg| arg.parse::<usize>());
    let options = Options { batch: number(1)?, threads: number(2)?, ..Options::default() };

    let begun = Instant::now();
    let engine = Engine::compile(&onnx::open(file)?, &options)?;
    println!("opened and compiled in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);

    let elements = |dims: &[usize]| options.batch * dims.iter().product::<usize>();
    let images = vec![0.0; elements(engine.input_dims())];
    let mut results = vec![0.0; elements(engine.output_dims())];
    let mut workspace = engine.workspace()?;
    let mut times = Vec::new();
    for _ in 0..101 {
        let begun = Instant::now();
        engine.run_with(&mut workspace, &images, &mut results)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("a batch of {} takes {:.3} ms (median)", options.batch, times[times.len() / 2]);

    for layer in engine.profile(&images, 21)?.layers {
        let micros = layer.micros.unwrap_or_default();
        let density = 1e2 * layer.density;
        println!("{micros:9.1} µs  {:20} {}, density {density:.1} %", layer.name, layer.kernel);
    }
    Ok(())
}
