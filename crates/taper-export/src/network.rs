//! A network separate from its model, for export.

use crate::{ElementType, ExportError, onnx::Repeats};
use candle_core::DType;
use std::collections::BTreeMap;
use taper_graph::{Graph, LayerCost, Op, Tensor, passes};
use taper_nn::{Model, graph, ops::with_values};
use taper_train::checkpoint::RawTensor;

/// A network for export: its graph with copies of the tensors, and the counters of its state dict. Changes to it do not
/// affect the model.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) graph: Graph,
    /// Integers of the state dict, such as `num_batches_tracked`. No operation reads them.
    pub(crate) counters: BTreeMap<String, RawTensor>,
}

impl Network {
    /// Copies the current state of a model, for images of this shape, channels first. Every file contains the metadata.
    ///
    /// # Errors
    /// If the model uses candle's own operations, which cannot be exported.
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
                // The state dict also has the parameters that the forward pass does not read.
                let values = with_values(&[entry.var.as_tensor()], |values| values[0].to_vec())?;
                graph.add_tensor(&entry.name, Tensor::new(entry.var.dims(), values)?);
            }
        }
        Ok(Self { graph, counters })
    }

    /// The graph, with its tensors and metadata.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph without the counters.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Metadata for every file: `architecture`, `classes`, `sparsity`, `recipe` and `tool`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.graph.metadata
    }

    /// The same metadata, to change them.
    pub fn metadata_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.graph.metadata
    }

    /// Shape of an image: channels, rows, columns.
    pub fn image(&self) -> &[usize] {
        self.graph.input_dims()
    }

    /// The tensors by name, without counters.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.graph.tensors
    }

    /// Shapes of all tensors by name, counters included.
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

    /// Every tensor as bytes for a file: floats rounded to a type, counters unchanged.
    pub(crate) fn raw(
        &self,
        element: ElementType,
    ) -> impl Iterator<Item = Result<(&String, RawTensor), ExportError>> {
        let tensors = self.graph.tensors.iter();
        let tensors = tensors.map(move |(name, t)| Ok((name, element.raw(name, t)?)));
        tensors.chain(self.counters.iter().map(|(name, raw)| Ok((name, raw.clone()))))
    }

    /// Weights of convolutions and linear layers, with their kind. Sparse formats compress these.
    pub(crate) fn layers(&self) -> BTreeMap<&str, &'static str> {
        let layer = |op| match op {
            &Op::Conv(taper_graph::Conv { ref weight, .. }) => Some((&weight[..], "conv")),
            Op::Linear { weight, .. } => Some((&weight[..], "linear")),
            _ => None,
        };
        self.graph.nodes.iter().filter_map(|node| layer(&node.op)).collect()
    }

    /// The same function with batch norm folded into the convolution or linear layer before it
    /// ([`fold_norms`](passes::fold_norms)). This scales the layer's weight and gives the layer a bias. Zeros stay
    /// zeros. Batch norm after another operation is kept. Tensors that nothing reads are removed.
    ///
    /// # Errors
    /// If the graph is not valid.
    pub fn folded(&self) -> Result<Self, ExportError> {
        Ok(self.with_graph(passes::fold_norms(&self.graph)?))
    }

    /// A smaller network with equal results, without channels that have no effect or a constant effect
    /// ([`shrink`](passes::shrink)). Constants become biases, and only their rounding changes results.
    ///
    /// The result is not an architecture of the zoo and cannot be trained. Its metadata name the original architecture
    /// under `shrunk_from` instead of `architecture`, and `sparsity` is the sparsity of the remaining weights. An ONNX
    /// file stores the whole network; the other formats store the tensors without the graph.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use taper_export::{Format, Network, Options, export};
    /// use taper_graph::Tensor;
    ///
    /// // The last 8 of the 16 filters of the first layer are pruned.
    /// let model = taper_zoo::build("digits-cnn", 10, 0, &candle_core::Device::Cpu)?;
    /// let mut graph = Network::of(&*model, [1, 8, 8], BTreeMap::new())?.into_graph();
    /// let filters = graph.tensor("conv1.weight")?.values()[..8 * 9].to_vec();
    /// let pruned = Tensor::new(&[16, 1, 3, 3], [filters, vec![0.0; 8 * 9]].concat())?;
    /// graph.add_tensor("conv1.weight", pruned);
    /// let network = Network::from(graph);
    ///
    /// let small = network.shrunk()?;
    /// assert_eq!(small.tensors()["conv1.weight"].dims(), [8, 1, 3, 3]);
    /// assert_eq!(small.tensors()["conv2.weight"].dims(), [32, 8, 3, 3]);
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("small.onnx");
    /// let written = export(&small, Format::Onnx, &path, &Options::default())?;
    /// assert!(written.bytes < network.bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`shrink`](passes::shrink).
    pub fn shrunk(&self) -> Result<Self, ExportError> {
        let mut network = self.with_graph(passes::shrink(&self.graph)?);
        let sparsity = network.sparsity()?;
        let metadata = &mut network.graph.metadata;
        if let Some(architecture) = metadata.remove("architecture") {
            metadata.insert("shrunk_from".into(), architecture);
        }
        if let Some(said) = metadata.get_mut("sparsity") {
            *said = sparsity.to_string();
        }
        Ok(network)
    }

    /// Fraction of zeros among the weights of convolutions and linear layers; 0 if there are no weights.
    ///
    /// # Errors
    /// If a weight is missing.
    pub fn sparsity(&self) -> Result<f64, ExportError> {
        let layers = self.graph.layers()?;
        let n: u64 = layers.iter().map(LayerCost::n_weights).sum();
        let n_kept: u64 = layers.iter().map(LayerCost::n_kept).sum();
        Ok((n - n_kept) as f64 / n.max(1) as f64)
    }

    /// Number of parameters: weights, biases and constants, without running statistics and matrices that only select
    /// channels. Equal rows or columns of a constant count once, as an ONNX file stores them once.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn n_params(&self) -> Result<u64, ExportError> {
        let mut sizes = BTreeMap::new();
        for node in &self.graph.nodes {
            for name in node.op.tensors() {
                let tensor = self.graph.tensor(name)?;
                let n = match &node.op {
                    Op::Norm(norm) if name == norm.mean || name == norm.var => 0,
                    Op::Constant(_) => {
                        let repeats = Repeats::of(tensor)?;
                        repeats.as_ref().map_or(tensor, |found| &found.distinct).values().len()
                    }
                    Op::Conv(_) | Op::Linear { .. } if tensor.selects_channels() => 0,
                    _ => tensor.values().len(),
                };
                sizes.insert(name, n as u64);
            }
        }
        Ok(sizes.into_values().sum())
    }

    /// The network with a graph that a pass made from its graph. A counter is removed together with its batch norm.
    fn with_graph(&self, graph: Graph) -> Self {
        let is_there = |counter: &str| match counter.strip_suffix(".num_batches_tracked") {
            Some(norm) => {
                // Batch norm may have no weight and bias, but it has a mean.
                let mean = format!("{norm}.running_mean");
                graph.tensors.contains_key(&mean) || !self.graph.tensors.contains_key(&mean)
            }
            None => true,
        };
        let mut counters = self.counters.clone();
        counters.retain(|name, _| is_there(name));
        Self { graph, counters }
    }
}

/// A network without counters, for example from a graph of another tool.
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

    /// Two convolutions. The forward pass reads only the first.
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

    /// A convolution, and batch norm without weight and bias.
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

    /// A convolution, batch norm, and another convolution.
    struct Stack((Conv2d, BatchNorm, Conv2d), Params);

    impl Model for Stack {
        fn forward(
            &self,
            images: &candle_core::Tensor,
            pass: &Pass,
        ) -> Result<candle_core::Tensor> {
            let (first, norm, last) = &self.0;
            last.forward(norm.forward(first.forward(images, pass)?, pass)?, pass)?.tensor()
        }

        fn params(&self) -> &Params {
            &self.1
        }
    }

    #[test]
    fn batch_norm_without_parameters_is_folded_with_its_counter() -> Result<()> {
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
    fn metadata_of_a_shrunk_network_name_its_origin_and_sparsity() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let (first, last) = (scope.pp("a"), scope.pp("b"));
        let first = Conv2d::new(&first, 1, 4, ConvConfig::same(3), Init::Constant(0.5))?;
        let norm = BatchNorm::new(&scope.pp("bn"), 4)?;
        let last = Conv2d::new(&last, 4, 1, ConvConfig::same(1), Init::Constant(2.0))?;
        let model = Stack((first, norm, last), scope.finish());
        let said = [("architecture", "stack"), ("sparsity", "0.5"), ("recipe", "{}")];
        let said = said.map(|(key, value)| (key.to_string(), value.to_string()));
        let mut network = Network::of(&model, [1, 6, 6], said.into()).expect("a network");
        // Two of four filters are pruned, and one weight of another. Batch norm makes a constant of one pruned filter.
        let weight: Vec<f32> = (0..36).map(|i| f32::from(u8::from(i < 18 && i != 4))).collect();
        let tensor = |dims: &[usize], values: Vec<f32>| Tensor::new(dims, values).expect("a shape");
        network.graph.add_tensor("a.weight", tensor(&[4, 1, 3, 3], weight));
        network.graph.add_tensor("bn.bias", tensor(&[4], vec![0.0, 0.0, 3.0, 0.0]));
        // 36 + 4 weights, and two for each of four channels.
        assert_eq!(network.n_params().expect("tensors"), 48);
        let small = network.shrunk().expect("a network");
        let shapes = |name: &str| small.tensors()[name].dims().to_vec();
        assert_eq!((shapes("a.weight"), shapes("b.weight")), (vec![2, 1, 3, 3], vec![1, 2, 1, 1]));
        assert_eq!(
            (shapes("bn.running_var"), small.tensors()["b.bias"].values()),
            (vec![2], &[6.0][..])
        );
        assert!(small.shapes().contains_key("bn.num_batches_tracked"));
        let expected = [("recipe", "{}"), ("shrunk_from", "stack"), ("sparsity", "0.05")];
        assert!(small.metadata().iter().map(|(k, v)| (&k[..], &v[..])).eq(expected));
        // 18 + 2 weights, a bias, and two for each of two channels.
        assert_eq!(small.n_params().expect("tensors"), 25);
        // 2 × 2 distinct pixels.
        let constant = Tensor::new(
            &[1, 6, 6],
            (0..36).map(|i| f32::from(u8::from(i == 0))).collect::<Vec<_>>(),
        );
        let mut graph = Graph::new(&[1, 6, 6]);
        graph.add_tensor("c", constant.expect("a shape"));
        let c = graph.push(Op::Constant("c".into()), &[]).expect("a constant");
        graph.output = graph.push(Op::Add, &[0, c]).expect("a sum");
        assert_eq!(Network::from(graph).n_params().expect("tensors"), 4);
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
        // Sparse formats compress only weights that the forward pass reads.
        assert_eq!(found.layers(), [("out.weight", "conv")].into());
        assert_eq!((found.bytes(), found.image()), (2 * 9 * 4, &[2, 1, 1][..]));
        let folded = found.folded().expect("a network");
        assert!(folded.tensors().keys().eq(["out.bias", "out.weight"]));
        Ok(())
    }
}
