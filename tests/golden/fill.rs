//! Generates the weights of the reference values from a seed and the names of the tensors.

use candle_core::{DType, Device, Tensor};
use taper::core::{hash::fnv1a, rng::Rng};
use taper::nn::Params;

/// The values of a tensor, in row-major order. Arithmetic is in f64; each value is rounded to f32 once.
pub(crate) fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let n = shape.iter().product();
    let mut rng = Rng::for_name(seed, name);
    let mut uniform = |low: f64, high: f64| -> Vec<f32> {
        (0..n).map(|_| (low + (high - low) * rng.uniform()) as f32).collect()
    };
    match (name.rsplit('.').next().unwrap_or(name), shape) {
        ("weight", [_, inputs, height, width]) => bell(seed, name, n, 2.0, inputs * height * width),
        ("weight", [_, inputs]) => bell(seed, name, n, 1.0, *inputs),
        ("weight", [_]) => uniform(0.75, 1.25),
        ("bias" | "running_mean", _) => uniform(-0.1, 0.1),
        ("running_var", _) => uniform(0.5, 1.5),
        ("num_batches_tracked", _) => vec![0.0; n],
        _ => panic!("the fill rule does not cover {name} of shape {shape:?}"),
    }
}

/// A symmetric, bell-shaped distribution with variance `gain / fan_in`: the sum of four uniform 32-bit numbers.
fn bell(seed: u64, name: &str, n: usize, gain: f64, fan_in: usize) -> Vec<f32> {
    let std = (gain / fan_in as f64).sqrt();
    let mut rng = Rng::for_name(seed, name);
    (0..n)
        .map(|_| {
            let (a, b) = (rng.next_u64(), rng.next_u64());
            let halves = [a >> 32, a & 0xffff_ffff, b >> 32, b & 0xffff_ffff];
            let sum = halves.iter().sum::<u64>() as i64 - 2 * ((1 << 32) - 1);
            (sum as f64 / (1u64 << 32) as f64 * 3f64.sqrt() * std) as f32
        })
        .collect()
}

/// Fills every parameter and buffer of a network.
pub(crate) fn fill(params: &Params, seed: u64) {
    let value = |name: &str| {
        let shape = params.get(name)?.var.dims();
        Tensor::from_vec(values(seed, name, shape), shape, &Device::Cpu).ok()
    };
    params.load(value).expect("values of every shape");
}

/// Name and values of every f32 entry.
pub(crate) fn state(params: &Params) -> Vec<(&str, Vec<f32>)> {
    params
        .entries()
        .iter()
        .filter(|entry| entry.var.dtype() == DType::F32)
        .map(|entry| (entry.name.as_str(), flat(&entry.var)))
        .collect()
}

/// The values of a tensor in row-major order.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values of f32")
}

#[test]
fn golden_fill_rule_gives_the_published_numbers() {
    let mut rng = Rng::from_state(fnv1a(b"1/conv1.weight"));
    let draws: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
    assert_eq!(
        draws,
        [
            0x3acd_2512_298f_04d5,
            0x546b_c1a5_4112_1037,
            0x959d_d239_6d93_617a,
            0xb104_4ce7_7b1d_9075
        ]
    );
    let weights = values(1, "conv1.weight", &[32, 3, 3, 3]);
    assert_eq!(
        weights[..3].iter().map(|w| w.to_bits()).collect::<Vec<_>>(),
        [0xbef7_27ee, 0x3db2_78c7, 0xbda6_ae70]
    );
    assert_eq!(values(1, "bn.weight", &[32])[..2], [1.090_009_7, 1.099_959_3]);
}
