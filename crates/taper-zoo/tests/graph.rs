//! The traced graph of each network computes the same logits as its forward pass.

use candle_core::{DType, Device, Result, Tensor};
use taper_nn::{Pass, graph};
use taper_zoo::ARCHITECTURES;

/// Pseudo-random numbers in [-1, 1).
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn the_interpreted_graph_gives_the_logits_of_every_network() -> Result<()> {
    for architecture in ARCHITECTURES {
        let name = &*architecture.name;
        let model = architecture.build(7, 3, &Device::Cpu)?;
        // Running statistics and batch-norm parameters like those after training.
        for (i, entry) in model.params().entries().iter().enumerate() {
            let centre = match &entry.name {
                _ if entry.var.rank() != 1 || entry.var.dtype() != DType::F32 => continue,
                name if name.ends_with("mean") || name.ends_with("bias") => 0.0,
                _ => 1.0,
            };
            let values = noise(entry.var.elem_count(), i as u64);
            let values = values.into_iter().map(|v| centre + 0.3 * v).collect();
            entry.var.set(&Tensor::from_vec(values, entry.var.shape(), &Device::Cpu)?)?;
        }
        // The interpreter is slow, so large images are made smaller.
        let image = match architecture.image {
            [channels, height, _] if height > 32 => [channels, 40, 33],
            small => small,
        };
        let [channels, height, width] = image;
        let images = noise(2 * channels * height * width, 99);
        let graph = graph::trace(&*model, image)?;
        let found = taper_graph::interpret(&graph, &images).expect(name);
        let images = Tensor::from_vec(images, (2, channels, height, width), &Device::Cpu)?;
        let logits = model.forward(&images, &Pass::eval())?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(found.len(), logits.len(), "{name}");
        let largest = logits.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        let error = found.iter().zip(&logits).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(largest > 0.0 && error <= 1e-5 * largest, "{name}: {error} of {largest}");
    }
    Ok(())
}
