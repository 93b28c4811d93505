//! Tests methods, as experiments select them, on layers with a few weights and given gradients.

mod pairs;
mod properties;
mod reference;
mod remembered;

use super::{Resolved, load};
use candle_core::{Device, Tensor};
use taper::{
    core::Step,
    kernels::mask::Mask,
    nn::{Init, ParamKind, Params, Scope},
    prune::{Changed, GradientOracle, Pruner, Sample},
    train::Optimizer,
};
use taper_compose::Setting;

/// An experiment with these keys.
fn resolve(sets: &[impl AsRef<str>]) -> anyhow::Result<Resolved> {
    let overrides =
        sets.iter().map(|set| Setting::parse(set.as_ref())).collect::<anyhow::Result<Vec<_>>>()?;
    Resolved::new(load(None, &[], &overrides)?)
}

/// Layers with these names, shapes and weights: convolutions if the shape has a kernel, else linear layers.
fn layers(layers: &[(&str, &[usize], &[f32])]) -> anyhow::Result<Params> {
    let values = layers.iter().map(|(name, shape, weights)| {
        let weights = Tensor::from_slice(weights, *shape, &Device::Cpu)?;
        Ok((format!("{name}.weight"), weights))
    });
    let values = values.collect::<candle_core::Result<Vec<_>>>()?;
    let scope = Scope::new(0, &Device::Cpu).with_source(move |name, _| {
        Ok(values.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.clone()))
    });
    for &(name, shape, _) in layers {
        let kind = if shape.len() > 2 { ParamKind::ConvWeight } else { ParamKind::LinearWeight };
        scope.pp(name).weight("weight", shape, kind, Init::FanOut)?;
    }
    Ok(scope.finish())
}

/// A run with a linear loss.
struct Small {
    params: Params,
    pruner: Pruner,
    optimizer: Box<dyn Optimizer>,
    lr: f64,
    /// The weights of the last forward pass, pruned ones 0.
    used: Vec<Vec<f32>>,
}

impl Small {
    fn new(resolved: &Resolved, params: Params, total: u64) -> anyhow::Result<Self> {
        let pruner = resolved.pruner(&params, total, 0)?.expect("a method that prunes");
        let lr = resolved.recipe().lr;
        Ok(Self { params, pruner, optimizer: resolved.optimizer()?, lr, used: Vec::new() })
    }

    /// A step; `slopes` are the gradients with respect to the weights after pruning.
    fn step(&mut self, step: u64, slopes: &[Vec<f32>]) -> anyhow::Result<Changed> {
        self.pruner.prepare(Step(step), &mut Linear { params: &self.params, slopes })?;
        let imposed = self.pruner.impose(Step(step))?;
        self.used = self.params.prunable().map(|(_, var)| values(var)).collect();
        let mut loss = Tensor::new(0f32, &Device::Cpu)?;
        for ((_, var), slope) in self.params.prunable().zip(slopes) {
            let slope = Tensor::from_slice(slope, var.shape(), &Device::Cpu)?;
            loss = (loss + (var.as_tensor() * slope)?.sum_all()?)?;
        }
        let mut grads = loss.backward()?;
        let changed = imposed.lift(&mut grads)?;
        if let Some(weights) = &changed.forgotten {
            self.optimizer.forget(&self.params, weights)?;
        }
        if let Some(weights) = &changed.momentum {
            self.optimizer.begin(&self.params, weights)?;
        }
        if !changed.is_skipped {
            self.optimizer.step(&self.params, &grads, 1.0, self.lr)?;
            self.pruner.learn(1.0, self.lr);
        }
        Ok(changed)
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        self.params.prunable().map(|(_, var)| values(var)).collect()
    }

    /// The velocity of each layer, 0 before the first step.
    fn velocity(&self) -> Vec<Vec<f32>> {
        let state = self.optimizer.state(&self.params).expect("a state");
        let layers = self.params.prunable().map(|(info, var)| {
            let velocity = state.tensors.get(&format!("velocity/{}", info.name));
            velocity.map_or_else(|| vec![0.0; var.elem_count()], values)
        });
        layers.collect()
    }

    fn masks(&self) -> Vec<Mask> {
        let masks = self.pruner.state().masks.into_iter().zip(self.params.prunable());
        masks
            .map(|(words, (_, var))| Mask::from_words(words, var.elem_count()).expect("a mask"))
            .collect()
    }
}

/// The oracle for criteria at initialisation: the loss is linear, but its Hessian is diag(w).
struct Linear<'a> {
    params: &'a Params,
    slopes: &'a [Vec<f32>],
}

impl GradientOracle for Linear<'_> {
    fn gradient(&mut self, _sample: &Sample) -> candle_core::Result<Vec<Tensor>> {
        let layers = self.params.prunable().zip(self.slopes);
        layers
            .map(|((_, var), slope)| Tensor::from_slice(slope, var.shape(), &Device::Cpu))
            .collect()
    }

    fn curvature(&mut self, _: &Sample, along: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        let layers = self.params.prunable().zip(along);
        layers.map(|((_, var), along)| var.as_tensor() * along).collect()
    }

    fn flow(&mut self, weights: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        weights.iter().map(Tensor::ones_like).collect()
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}
