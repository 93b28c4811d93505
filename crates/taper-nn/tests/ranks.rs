//! Gradients of a batch shared by several ranks are bit-identical to those of one process.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::{sync::Arc, thread};
use taper_distributed::{Ranks, Threads};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_nn::{
    BatchNorm, Conv2d, ConvConfig, Gate, Gates, Init, KernelContext, Linear, Params, Pass,
    Sampling, Scope, concat, global_average,
    ops::{self, cross_entropy},
    relu,
};

/// A network with batch norms, a grouped convolution, a concatenation, and a linear layer with a bias.
struct Net {
    first: Conv2d,
    norm: BatchNorm,
    grouped: Conv2d,
    joined: BatchNorm,
    last: Linear,
    params: Params,
}

impl Net {
    fn new() -> Result<Self> {
        let scope = Scope::new(7, &Device::Cpu);
        let grouped = ConvConfig { groups: 2, ..ConvConfig::same(3) };
        Ok(Self {
            first: Conv2d::new(&scope.pp("first"), 3, 8, ConvConfig::same(3), Init::FanOut)?,
            norm: BatchNorm::new(&scope.pp("norm"), 8)?,
            grouped: Conv2d::new(&scope.pp("grouped"), 8, 6, grouped, Init::FanOut)?,
            joined: BatchNorm::new(&scope.pp("joined"), 14)?,
            last: Linear::new(&scope.pp("last"), 14, 5, Init::FanOut)?,
            params: scope.finish(),
        })
    }

    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let x = self.norm.forward(self.first.forward(images, pass)?, pass)?;
        let x = relu(x)?;
        let y = self.grouped.forward(&x, pass)?;
        let both = self.joined.forward(concat(&[&x, &y])?, pass)?;
        self.last.forward(global_average(relu(both)?)?, pass)?.tensor()
    }
}

/// How the gradient of pruned weights is computed.
#[derive(Clone, Copy, Debug)]
enum Pruned {
    Dense,
    Exact,
    Sampled,
    FewLive,
    ManyLive,
    SampledLive,
}

fn gates(net: &Net, pruned: Pruned) -> Gates {
    let gate = |var: &Var| -> Result<Gate> {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        let mut sizes: Vec<f32> = values.iter().map(|w| w.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let above = |share: f64| {
            let at = ((sizes.len() as f64 * share) as usize).min(sizes.len() - 1);
            Arc::new(Mask::above(&values, sizes[at]))
        };
        let live = match pruned {
            Pruned::FewLive => Some(above(0.85)),
            Pruned::ManyLive | Pruned::SampledLive => Some(above(0.3)),
            _ => None,
        };
        let is_sampled = matches!(pruned, Pruned::Sampled | Pruned::SampledLive);
        Ok(Gate {
            value: Threshold::Hard.into(),
            cut: sizes[sizes.len() * 9 / 10],
            mask: above(0.9),
            live,
            sampling: is_sampled.then_some(Sampling { share: 0.4, key: 11 }),
            grad_at_zero: 1.0,
            grad_at_cut: 1.0,
        })
    };
    match pruned {
        Pruned::Dense => Gates::NONE,
        _ => {
            let gates = net.params.prunable().map(|(_, var)| gate(var).map(Some));
            Gates::new(gates.collect::<Result<_>>().expect("weights"))
        }
    }
}

fn wave(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 % 1009) as f32 - 500.0) / 320.0).collect()
}

/// Bits of all gradients, of the running statistics and of the loss.
fn found(ranks: &Ranks, n: usize, pruned: Pruned) -> Result<Vec<u32>> {
    let net = Net::new()?;
    let gates = gates(&net, pruned);
    let kernels = KernelContext::default().of_ranks(ranks, n);
    let part = ranks.images(n).unwrap_or(0..n);
    let images = Tensor::from_vec(wave(n * 3 * 36), (n, 3, 6, 6), &Device::Cpu)?;
    let images = images.narrow(0, part.start, part.len())?;
    let labels: Vec<u32> = part.map(|i| (i * 3 % 5) as u32).collect();
    let labels = ops::gathered_labels(&Tensor::new(&labels[..], &Device::Cpu)?, &kernels)?;
    let pass = Pass::train(&gates).with_kernels(&kernels);
    let logits = ops::gathered(&net.forward(&images, &pass)?, &kernels)?;
    let loss = cross_entropy(&logits, &labels, 0.1)?;
    let grads = loss.backward()?;
    let mut found = loss.reshape(1)?.to_vec1::<f32>()?;
    for entry in net.params.entries().iter().filter(|entry| entry.var.dtype() == DType::F32) {
        let values = grads.get(&entry.var).unwrap_or(entry.var.as_tensor());
        found.extend(values.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(found.into_iter().map(f32::to_bits).collect())
}

fn on_ranks<R: Send + 'static>(
    size: usize,
    f: impl Fn(Ranks) -> R + Send + Copy + 'static,
) -> Vec<R> {
    let ranks = Threads::connected(size).into_iter();
    let ranks: Vec<_> = ranks.map(|rank| thread::spawn(move || f(Ranks::new(rank)))).collect();
    ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
}

#[test]
fn each_rank_passes_the_labels_of_its_own_images() {
    let errors = on_ranks(2, |rank| {
        let kernels = KernelContext::default().of_ranks(&rank, 32);
        let labels = Tensor::new(&[0u32; 32], &Device::Cpu).expect("labels");
        ops::gathered_labels(&labels, &kernels).map(drop).unwrap_err().to_string()
    });
    for error in errors {
        assert!(error.contains("expected 16 labels of this rank's images, got 32"), "{error}");
    }
}

#[test]
fn gradients_of_a_shared_batch_have_the_bits_of_one_process() -> Result<()> {
    use Pruned::*;
    for pruned in [Dense, Exact, Sampled, FewLive, ManyLive, SampledLive] {
        // Also with partial blocks, blocks of fewer than eight images, and fewer blocks than ranks.
        for n in [64, 112, 67, 80, 33, 7] {
            let want = found(&Ranks::default(), n, pruned)?;
            for size in [1, 2, 3, 4] {
                for found in on_ranks(size, move |ranks| found(&ranks, n, pruned)) {
                    assert!(found? == want, "{pruned:?}, {n} images, {size} ranks");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn wrong_numbers_of_images_on_a_rank_are_errors() {
    let refused = |images: fn() -> Result<Tensor>| {
        for error in on_ranks(2, move |ranks| {
            let kernels = KernelContext::default().of_ranks(&ranks, 64);
            let gates = Gates::NONE;
            let net = Net::new()?;
            net.forward(&images()?, &Pass::train(&gates).with_kernels(&kernels))
        }) {
            let error = error.expect_err("it cannot be shared").to_string();
            assert!(error.contains("a rank has 32 images of a batch"), "{error}");
        }
    };
    // The whole batch, and a part of another size.
    refused(|| Tensor::ones((64, 3, 6, 6), DType::F32, &Device::Cpu));
    refused(|| Tensor::ones((31, 3, 6, 6), DType::F32, &Device::Cpu));
}
