//! A network apart from its model: what is written to files.

use crate::{Element, ExportError};
use candle_core::DType;
use std::collections::BTreeMap;
use taper_graph::{Graph, Op, Tensor, passes};
use taper_nn::{Model, graph, ops::with_values};
use taper_train::checkpoint::RawTensor;

/// A network as it is exported: the graph of what it computes, with copies of its tensors, and the counters of its state
/// dict. Nothing that is done to it changes the model that it was taken from.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) graph: Graph,
    /// Integers of the state dict, such as `num_batches_tracked`: no operation computes with them.
    pub(crate) counters: BTreeMap<String, RawTensor>,
}

impl Network {
    /// A model as it is now, for images of this shape, channels first. The metadata go into every file.
    ///
    /// # Errors
    /// If the model computes by candle's own operations, which no exporter knows.
    pub fn of(
        model: &dyn Model,
        image: [usize; 3],
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, ExportError> {
        let mut graph = graph::trace(model, image)?;
        graph.metadata = metadata;
        let mut counters = BTreeMap::new();
        for entry in model.params().entries() {
            if entry.var.dtype() == DType::I64 {
                counters.insert(entry.name.clone(), RawTensor::of(&entry.var)?);
            } else if !graph.tensors.contains_key(&entry.name) {
                // A parameter that the forward pass does not read is part of the state dict all the same.
                let values = with_values(&[entry.var.as_tensor()], |values| values[0].to_vec())?;
                graph.add_tensor(&entry.name, Tensor::new(entry.var.dims(), values)?);
            }
        }
        Ok(Self { graph, counters })
    }

    /// What it computes, with its tensors and metadata.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph alone.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Short texts that every file carries: `architecture`, `classes`, `sparsity`, `recipe` and `tool`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.graph.metadata
    }

    /// Shape of an image: channels, rows, columns.
    pub fn image(&self) -> &[usize] {
        self.graph.input_dims()
    }

    /// The tensors by name, without counters.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.graph.tensors
    }

    /// Shapes of all tensors by name, those of counters included.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let tensors = self.graph.tensors.iter().map(|(name, t)| (name.clone(), t.dims().to_vec()));
        let counters = self.counters.iter().map(|(name, raw)| (name.clone(), raw.shape.clone()));
        tensors.chain(counters).collect()
    }

    /// Bytes of all tensors as f32, and of the counters.
    pub fn bytes(&self) -> u64 {
        let tensors = self.graph.tensors.values().map(|t| size_of_val(t.values()));
        let counters = self.counters.values().map(|raw| raw.data.len());
        tensors.chain(counters).sum::<usize>() as u64
    }

    /// Every tensor as the bytes of a file: floats rounded to a type, counters as they are.
    pub(crate) fn raw(
        &self,
        element: Element,
    ) -> impl Iterator<Item = Result<(&String, RawTensor), ExportError>> {
        let tensors = self.graph.tensors.iter();
        let tensors = tensors.map(move |(name, t)| Ok((name, element.raw(name, t)?)));
        tensors.chain(self.counters.iter().map(|(name, raw)| Ok((name, raw.clone()))))
    }

    /// Weights of convolutions and linear layers, with their kind: what sparse formats compress.
    pub(crate) fn layers(&self) -> BTreeMap<&str, &'static str> {
        let layer = |op| match op {
            &Op::Conv(taper_graph::Conv { ref weight, .. }) => Some((&weight[..], "conv")),
            Op::Linear { weight, .. } => Some((&weight[..], "linear")),
            _ => None,
        };
        self.graph.nodes.iter().filter_map(|node| layer(&node.op)).collect()
    }

    /// The same function with each normalisation that follows a convolution or linear layer folded into it
    /// ([`fold_norms`](passes::fold_norms)): the layer's weight is scaled, and it has a bias instead. Zeros stay zeros.
    /// Normalisations that follow something else stay, too. Tensors that nothing reads are left out.
    ///
    /// # Errors
    /// If the graph is not valid.
    pub fn folded(&self) -> Result<Self, ExportError> {
        let graph = passes::fold_norms(&self.graph)?;
        // A counter goes with its normalisation.
        let is_there = |counter: &str| match counter.strip_suffix(".num_batches_tracked") {
            Some(norm) => {
                // Weight and bias may be missing.
                let mean = format!("{norm}.running_mean");
                graph.tensors.contains_key(&mean) || !self.graph.tensors.contains_key(&mean)
            }
            None => true,
        };
        let mut counters = self.counters.clone();
        counters.retain(|name, _| is_there(name));
        Ok(Self { graph, counters })
    }
}

/// A graph without counters, such as one of another tool.
impl From<Graph> for Network {
    fn from(graph: Graph) -> Self {
        Self { graph, counters: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Result};
    use taper_nn::{BatchNorm, BatchNormConfig, Conv2d, ConvConfig, Init, Params, Pass, Scope};

    /// A convolution, and one that its forward pass does not read.
    struct Net([Conv2d; 2], Params);

    impl Model for Net {
        fn forward(
            &self,
            images: &candle_core::Tensor,
            pass: &Pass,
        ) -> Result<candle_core::Tensor> {
            self.0[0].forward(images, pass)?.tensor()
        }

        fn params(&self) -> &Params {
            &self.1
        }
    }

    /// A convolution with a normalisation that has no weight and bias.
    struct Normed(Conv2d, BatchNorm, Params);

    impl Model for Normed {
        fn forward(
            &self,
            images: &candle_core::Tensor,
            pass: &Pass,
        ) -> Result<candle_core::Tensor> {
            self.1.forward(self.0.forward(images, pass)?, pass)?.tensor()
        }

        fn params(&self) -> &Params {
            &self.2
        }
    }

    #[test]
    fn a_normalisation_without_parameters_is_folded_with_its_counter() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let conv = ConvConfig::same(1);
        let conv = Conv2d::new(&scope.pp("conv"), 2, 3, conv, Init::Constant(0.5))?;
        let config = BatchNormConfig { eps: 3.0, affine: false, ..BatchNormConfig::default() };
        let norm = BatchNorm::with_config(&scope.pp("bn"), 3, config)?;
        let model = Normed(conv, norm, scope.finish());
        let found = Network::of(&model, [2, 1, 1], BTreeMap::new()).expect("a network");
        assert!(found.shapes().contains_key("bn.num_batches_tracked"));
        let folded = found.folded().expect("a network");
        assert!(folded.shapes().keys().eq(["conv.bias", "conv.weight"]));
        // The running variance is 1.
        assert_eq!(folded.tensors()["conv.weight"].values(), [0.25; 6]);
        Ok(())
    }

    #[test]
    fn parameters_that_are_not_read_stay_until_folding() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let config = ConvConfig::same(1).biased();
        let conv = |name: &str| Conv2d::new(&scope.pp(name), 2, 3, config, Init::Uniform);
        let model = Net([conv("out")?, conv("aside")?], scope.finish());
        let found = Network::of(&model, [2, 1, 1], BTreeMap::new()).expect("a network");
        for entry in model.params().entries() {
            let tensor = &found.tensors()[&entry.name];
            assert_eq!(tensor.dims(), entry.var.dims(), "{}", entry.name);
            assert_eq!(tensor.values(), entry.var.flatten_all()?.to_vec1::<f32>()?);
        }
        // Sparse formats compress what is computed with.
        assert_eq!(found.layers(), [("out.weight", "conv")].into());
        assert_eq!((found.bytes(), found.image()), (2 * 9 * 4, &[2, 1, 1][..]));
        let folded = found.folded().expect("a network");
        assert!(folded.tensors().keys().eq(["out.bias", "out.weight"]));
        Ok(())
    }
}
