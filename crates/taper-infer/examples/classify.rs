//! Classifies one image with an ONNX file, the deployed part of the tutorial *Prune a candle model and deploy it* of the book.

use taper_infer::{Engine, Options, onnx};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: classify FILE.onnx")?;
    let engine = Engine::compile(&onnx::open(file)?, &Options::default())?;
    let image = vec![0.0; engine.input_dims().iter().product()]; // normalised pixels, [channels, height, width]
    let logits = engine.run(&image)?;
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    println!("class {}", best.ok_or("the network has no classes")?);
    Ok(())
}
