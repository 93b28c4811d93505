//! The settings of a forward pass: mode, gates, hook and kernels.

use crate::{Activation, Gate, Gates, KernelContext, ops::Weights, traced::Tracer};
use candle_core::{Result, Tensor, Var};
use std::sync::Arc;
use taper_core::LayerId;

/// How layers behave.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Batch norm uses the statistics of the batch, and updates the running statistics.
    Train,
    /// Batch norm uses the running statistics.
    Eval,
    /// Finds paths through the network. Each weight is replaced by the tensor given for its layer, biases are omitted,
    /// and batch norm maps positive values to 1. A weight is on a path from input to output if the sum of the logits of
    /// an all-ones image has a non-zero gradient w.r.t. it.
    Paths(&'a [Tensor]),
    /// Sums the flow along all paths. Each weight is replaced by the tensor given for its layer, biases are omitted,
    /// and batch norm multiplies by `|γ|/√(variance + ε)` with its running variance. The sum of the logits of an
    /// all-ones image is then the sum over all paths of the product of their weights.
    Flow(&'a [Tensor]),
}

/// The report of a layer to a [`ForwardHook`].
#[derive(Debug)]
pub struct LayerEvent<'a> {
    /// The layer's path, e.g. `layer1.0.conv1`.
    pub name: &'a str,
    /// The layer's id, if its weight is prunable.
    pub id: Option<LayerId>,
    /// The layer's output.
    pub output: &'a Tensor,
    /// Dense multiply-accumulates per image; 0 for layers other than convolutions and linear layers.
    pub macs: u64,
}

/// Is called for each layer of a forward pass.
pub trait ForwardHook {
    /// Called after each layer.
    ///
    /// # Errors
    /// An error ends the pass.
    fn layer(&self, event: &LayerEvent) -> Result<()>;
}

/// The settings of a forward pass: mode, gates, optional hook, and kernels.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    mode: Mode<'a>,
    gates: &'a Gates,
    hook: Option<&'a dyn ForwardHook>,
    tracks_gradients: bool,
    tracks_statistics: bool,
    direction: Option<&'a [Tensor]>,
    tracer: Option<&'a Arc<Tracer>>,
    kernels: &'a KernelContext,
}

impl<'a> Pass<'a> {
    /// A pass in any mode.
    pub fn new(mode: Mode<'a>, gates: &'a Gates) -> Self {
        let (tracks_gradients, tracks_statistics) = (!matches!(mode, Mode::Eval), true);
        let (hook, direction, tracer) = (None, None, None);
        let kernels = KernelContext::shared();
        Self { mode, gates, hook, tracks_gradients, tracks_statistics, direction, tracer, kernels }
    }

    /// A training pass with these gates.
    pub fn train(gates: &'a Gates) -> Self {
        Self::new(Mode::Train, gates)
    }

    /// Evaluation of the dense weights.
    pub fn eval() -> Self {
        static NONE: Gates = Gates::NONE;
        Self::new(Mode::Eval, &NONE)
    }

    /// Evaluation with these gates.
    pub fn eval_gated(gates: &'a Gates) -> Self {
        Self::new(Mode::Eval, gates)
    }

    /// A training pass of the dense weights that also computes derivatives along a direction (forward-mode
    /// differentiation). The direction has a tensor for each prunable layer.
    ///
    /// The output has the logits of the batch, followed by their derivatives as further rows. A backward pass from a
    /// function of both gives second derivatives. Running statistics do not change.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use taper_nn::{Init, Linear, Pass, Scope};
    ///
    /// let scope = Scope::new(0, &Device::Cpu);
    /// let layer = Linear::new(&scope.pp("fc"), 2, 1, Init::Constant(1.0))?;
    /// let direction = [Tensor::new(&[[0.5f32, 0.0]], &Device::Cpu)?];
    /// let x = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
    /// let both = layer.forward(&x, &Pass::along(&direction))?.tensor()?;
    /// assert_eq!(both.to_vec2::<f32>()?, [[7.0], [1.5]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn along(direction: &'a [Tensor]) -> Self {
        static NONE: Gates = Gates::NONE;
        let pass = Self::new(Mode::Train, &NONE).without_statistics();
        Self { direction: Some(direction), ..pass }
    }

    /// The same pass without updates of running statistics.
    #[must_use]
    pub fn without_statistics(self) -> Self {
        Self { tracks_statistics: false, ..self }
    }

    /// The same pass with a hook.
    #[must_use]
    pub fn watched_by(self, hook: &'a dyn ForwardHook) -> Self {
        Self { hook: Some(hook), ..self }
    }

    /// The same pass with gradients. Evaluation tracks none by default, and then keeps no activations in memory.
    #[must_use]
    pub fn with_gradients(self) -> Self {
        Self { tracks_gradients: true, ..self }
    }

    /// The same pass with another kernel context.
    #[must_use]
    pub fn with_kernels(self, kernels: &'a KernelContext) -> Self {
        Self { kernels, ..self }
    }

    /// The kernel context of the pass.
    pub fn kernels(&self) -> &'a KernelContext {
        self.kernels
    }

    /// The same pass, traced instead of computed.
    pub(crate) fn traced_by(self, tracer: &'a Arc<Tracer>) -> Self {
        Self { tracer: Some(tracer), ..self }
    }

    /// The input of the layer `name`. A custom layer that uses the operations of this crate must start with this call;
    /// [`graph::trace`](crate::graph::trace) can then trace it.
    ///
    /// # Errors
    /// If the pass is traced, and one of candle's own operations has computed `x`.
    pub fn enter(&self, name: &str, x: impl Into<Activation>) -> Result<Activation> {
        match self.tracer {
            Some(tracer) => entered(tracer, name, x.into()),
            None if self.direction.is_some() => x.into().dual(),
            None => Ok(x.into().within(self.kernels)),
        }
    }

    /// Whether training updates the running statistics.
    pub fn tracks_statistics(&self) -> bool {
        self.tracks_statistics
    }

    /// Whether a backward pass may follow.
    pub fn tracks_gradients(&self) -> bool {
        self.tracks_gradients
    }

    /// How layers behave.
    pub fn mode(&self) -> Mode<'a> {
        self.mode
    }

    /// The gate of a layer, if it is pruned.
    pub fn gate(&self, layer: LayerId) -> Option<&'a Gate> {
        self.gates.get(layer)
    }

    /// The weights of a layer: weight, bias and gate. In [`Mode::Paths`] and [`Mode::Flow`] it is the weight given for
    /// the layer, without a bias. [`Weights::pruned`] is the pruned weight.
    ///
    /// # Errors
    /// If the mode or the direction lacks a tensor for the layer.
    pub fn weights<'b>(
        &'b self,
        layer: LayerId,
        weight: &'b Var,
        bias: Option<&'b Var>,
    ) -> Result<Weights<'b>> {
        let is_tracked = self.tracks_gradients;
        Ok(match self.mode {
            Mode::Paths(weights) | Mode::Flow(weights) => {
                let weight = of_layer(weights, layer, "weights")?;
                Weights { weight, bias: None, gate: None, is_tracked, direction: None }
            }
            Mode::Train | Mode::Eval => Weights {
                weight: weight.as_tensor(),
                bias: bias.map(Var::as_tensor),
                gate: self.gate(layer),
                is_tracked,
                direction: self.direction.map(|d| of_layer(d, layer, "directions")).transpose()?,
            },
        })
    }

    /// Reports the output of a layer to the hook, if there is one. `macs` is the number of dense multiply-accumulates
    /// per image.
    ///
    /// # Errors
    /// If the hook fails, or candle cannot create the tensor of the output.
    pub fn report(
        &self,
        name: &str,
        id: Option<LayerId>,
        output: &Activation,
        macs: u64,
    ) -> Result<()> {
        match self.hook {
            Some(hook) => hook.layer(&LayerEvent { name, id, output: &output.tensor()?, macs }),
            None => Ok(()),
        }
    }
}

/// The tensor given for a layer.
fn of_layer<'a>(tensors: &'a [Tensor], layer: LayerId, what: &str) -> Result<&'a Tensor> {
    match tensors.get(layer.0) {
        Some(tensor) => Ok(tensor),
        None => {
            let (n, at) = (tensors.len(), layer.0);
            candle_core::bail!("the pass is given {n} {what}, and layer {at} has none")
        }
    }
}

/// The input of a layer, as a traced activation.
fn entered(tracer: &Arc<Tracer>, layer: &str, x: Activation) -> Result<Activation> {
    let Some(tensor) = x.as_tensor() else { return Ok(x) };
    match tracer.node(tensor) {
        Some(node) => Ok(tracer.value(node).into()),
        None => candle_core::bail!(
            "{layer} reads the result of one of candle's own operations, which a graph cannot contain; use the operations \
             of taper_nn::ops"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gate, Init, Model, ParamKind, Params, Scope, graph, ops};
    use candle_core::Device;
    use taper_kernels::{mask::Mask, threshold::Threshold};

    /// A custom layer with two weights: `(x·aᵀ)·bᵀ + bias`.
    struct LowRank {
        name: String,
        a: (Var, LayerId),
        b: (Var, LayerId),
        bias: Var,
        params: Params,
    }

    impl LowRank {
        fn new() -> Result<Self> {
            let scope = Scope::new(0, &Device::Cpu).pp("low_rank");
            let weight = |name: &str, shape: (usize, usize)| {
                scope.weight(name, shape, ParamKind::LinearWeight, Init::Constant(0.5))
            };
            Ok(Self {
                a: weight("a", (1, 4))?,
                bias: scope.param("bias", 2, ParamKind::Bias, Init::Constant(1.0))?,
                b: weight("b", (2, 1))?,
                name: scope.path().to_string(),
                params: scope.finish(),
            })
        }
    }

    impl Model for LowRank {
        fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
            let x = ops::global_average(pass.enter(&self.name, images)?)?;
            let x = ops::linear(&x, &pass.weights(self.a.1, &self.a.0, None)?)?;
            let y = ops::linear(&x, &pass.weights(self.b.1, &self.b.0, Some(&self.bias))?)?;
            pass.report(&self.name, None, &y, 6)?;
            y.tensor()
        }

        fn params(&self) -> &Params {
            &self.params
        }
    }

    #[test]
    fn a_custom_layer_is_gated_counted_and_traced() -> Result<()> {
        let layer = LowRank::new()?;
        let names: Vec<String> = layer.params.layers().into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["low_rank.a", "low_rank.b"]);
        assert_eq!((layer.a.1, layer.b.1), (LayerId(0), LayerId(1)));
        let x = Tensor::ones((1, 4, 2, 2), candle_core::DType::F32, &Device::Cpu)?;
        let run = |pass: &Pass| layer.forward(&x, pass)?.flatten_all()?.to_vec1::<f32>();
        assert_eq!(run(&Pass::eval())?, [2.0, 2.0]);

        let gate = Gate {
            value: Threshold::Hard.into(),
            cut: 0.0,
            mask: Arc::new(Mask::above(&[0.0, 1.0], 0.5)),
            live: None,
            sampling: None,
            grad_at_zero: 1.0,
            grad_at_cut: 1.0,
        };
        let gates = Gates::new(vec![None, Some(gate)]);
        let pass = Pass::train(&gates);
        assert_eq!(run(&pass)?, [1.0, 2.0]);
        assert!(pass.gate(LayerId(0)).is_none() && pass.gate(LayerId(2)).is_none());
        assert_eq!(pass.gate(LayerId(1)), gates.get(LayerId(1)));
        let grads = layer.forward(&x, &pass)?.sum_all()?.backward()?;
        let grad = grads.get(&layer.b.0).expect("a gradient, straight through");
        assert_eq!(grad.flatten_all()?.to_vec1::<f32>()?, [2.0, 2.0]);
        let pruned = pass.weights(layer.b.1, &layer.b.0, None)?.pruned()?;
        assert_eq!(pruned.flatten_all()?.to_vec1::<f32>()?, [0.0, 0.5]);

        let ones = [layer.a.0.ones_like()?, layer.b.0.ones_like()?];
        assert_eq!(run(&Pass::new(Mode::Paths(&ones), &gates))?, [4.0, 4.0]);
        assert!(run(&Pass::new(Mode::Paths(&ones[..1]), &gates)).is_err());

        let graph = graph::trace(&layer, [4, 2, 2])?;
        assert_eq!(graph.output_dims(), [2]);
        assert_eq!(graph.tensor("low_rank.b").map(|t| t.dims().to_vec()).ok(), Some(vec![2, 1]));
        Ok(())
    }
}
