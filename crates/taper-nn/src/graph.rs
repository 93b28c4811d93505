//! The graph of a network, found by tracing its forward pass.
//!
//! [`trace`] runs the forward pass of any [`Model`] that consists of this crate's layers and operations. The
//! activations have shapes, but no values. Export and inference read the graph.
//!
//! ```
//! use candle_core::{Device, Result, Tensor};
//! use taper_nn::{Conv2d, ConvConfig, Init, Model, Params, Pass, Scope, graph, relu};
//!
//! struct Net(Conv2d, Params);
//!
//! impl Model for Net {
//!     fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
//!         relu(self.0.forward(images, pass)?)?.tensor()
//!     }
//!     fn params(&self) -> &Params {
//!         &self.1
//!     }
//! }
//!
//! let scope = Scope::new(0, &Device::Cpu);
//! let conv = Conv2d::new(&scope.pp("conv"), 3, 8, ConvConfig::same(3), Init::FanOut)?;
//! let graph = graph::trace(&Net(conv, scope.finish()), [3, 8, 8])?;
//! assert_eq!(graph.nodes.len(), 3); // the images, the convolution, the ReLU
//! assert_eq!(graph.output_dims(), [8, 8, 8]); // of one image
//! assert_eq!(graph.tensor("conv.weight").unwrap().dims(), [8, 3, 3, 3]);
//! # Ok::<(), candle_core::Error>(())
//! ```

use crate::{Model, Pass, traced::Tracer};
use candle_core::Result;
use std::sync::Arc;
use taper_graph::Graph;

/// The graph of a network for images of this shape, channels first. It contains copies of the network's tensors, as f32
/// and under the names of its [`Params`](crate::Params). A tensor that is no parameter is called `constant.N`.
///
/// # Errors
/// If the images do not fit the network, or if the network uses candle's own operations or linear layers on inputs of
/// rank 3 or more, which a graph cannot contain.
pub fn trace(model: &dyn Model, image: [usize; 3]) -> Result<Graph> {
    let tracer = Arc::new(Tracer::new(model.params(), image));
    let images = tracer.value(Graph::INPUT).tensor()?;
    let output = model.forward(&images, &Pass::eval().traced_by(&tracer))?;
    let Some(output) = tracer.node(&output) else {
        candle_core::bail!(
            "the network's output is computed by one of candle's own operations, which a graph cannot contain; use the \
             operations of taper_nn::ops"
        )
    };
    Ok(tracer.graph_to(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchNorm, BatchNormConfig, Conv2d, ConvConfig, Init, Linear, MaxWindows, Scope};
    use crate::{Params, average, concat, global_average, max_pool, ops, ops::Weights, relu};
    use candle_core::{DType, Device, Tensor};
    use std::collections::BTreeSet;
    use taper_graph::{Conv, Norm, Op, Window};

    /// A network with every operation, and a constant that is no parameter.
    struct Net {
        conv: Conv2d,
        strided: Conv2d,
        norm: BatchNorm,
        linear: Linear,
        constant: Tensor,
        params: Params,
    }

    impl Net {
        fn new() -> Result<Self> {
            let scope = Scope::new(0, &Device::Cpu);
            let config = ConvConfig { dilation: 2, padding: 2, ..ConvConfig::same(3).groups(2) };
            let conv =
                |name: &str, config| Conv2d::new(&scope.pp(name), 2, 4, config, Init::FanOut);
            Ok(Self {
                conv: conv("conv", config.biased())?,
                strided: conv("strided", ConvConfig::same(3).stride(2))?,
                norm: BatchNorm::new(&scope.pp("norm"), 4)?,
                linear: Linear::new(&scope.pp("linear"), 8, 3, Init::Uniform)?,
                constant: Tensor::new(&[[2.0f64; 3]; 2], &Device::Cpu)?.to_dtype(DType::F32)?,
                params: scope.finish(),
            })
        }
    }

    impl Model for Net {
        fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
            let x = relu(self.norm.forward(self.conv.forward(images, pass)?, pass)?)?;
            let x = (&x + &x)?;
            let windows = MaxWindows { size: 3, stride: 2, padding: 1 };
            let small = max_pool(&x, windows)?;
            let small = concat(&[&small, &self.strided.forward(images, pass)?])?;
            let x = self.linear.forward(global_average(average(&small, 2)?)?, pass)?;
            let weight = &self.constant;
            let weights =
                Weights { weight, bias: None, gate: None, is_tracked: false, direction: None };
            ops::linear(&x, &weights)?.tensor()
        }

        fn params(&self) -> &Params {
            &self.params
        }
    }

    #[test]
    fn operations_names_shapes_and_values_are_those_of_the_network() -> Result<()> {
        let model = Net::new()?;
        let graph = trace(&model, [2, 6, 8])?;
        let n = model.params().entries().len();
        let constant = format!("constant.{n}");
        let dilated = Window { dilation: [2; 2], ..Window::square(3, 1, 2) };
        let expected = [
            (Op::Input, vec![], vec![2, 6, 8]),
            (
                Op::Conv(Conv {
                    weight: "conv.weight".into(),
                    bias: Some("conv.bias".into()),
                    window: dilated,
                    groups: 2,
                }),
                vec![0],
                vec![4, 6, 8],
            ),
            (
                Op::Norm(Norm {
                    weight: "norm.weight".into(),
                    bias: "norm.bias".into(),
                    mean: "norm.running_mean".into(),
                    var: "norm.running_var".into(),
                    eps: 1e-5,
                }),
                vec![1],
                vec![4, 6, 8],
            ),
            (Op::Activation(taper_graph::ActivationFn::Relu), vec![2], vec![4, 6, 8]),
            (Op::Add, vec![3, 3], vec![4, 6, 8]),
            (Op::MaxPool(Window::square(3, 2, 1)), vec![4], vec![4, 3, 4]),
            (
                Op::Conv(Conv {
                    weight: "strided.weight".into(),
                    bias: None,
                    window: Window::square(3, 2, 1),
                    groups: 1,
                }),
                vec![0],
                vec![4, 3, 4],
            ),
            (Op::Concat, vec![5, 6], vec![8, 3, 4]),
            (
                Op::AveragePool { window: Window::square(2, 2, 0), counts_padding: false },
                vec![7],
                vec![8, 1, 2],
            ),
            (Op::GlobalAverage, vec![8], vec![8, 1, 1]),
            (Op::Reshape(vec![8]), vec![9], vec![8]),
            (
                Op::Linear { weight: "linear.weight".into(), bias: Some("linear.bias".into()) },
                vec![10],
                vec![3],
            ),
            (Op::Linear { weight: constant.clone(), bias: None }, vec![11], vec![2]),
        ];
        let found = graph.nodes.into_iter().map(|node| (node.op, node.inputs, node.dims));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(graph.output, expected.len() - 1);
        // Every parameter and the constant, except the counter of batches.
        let names = model.params().entries().iter().map(|e| e.name.as_str());
        let names = names.filter(|name| *name != "norm.num_batches_tracked").chain([&*constant]);
        let found: BTreeSet<&str> = graph.tensors.keys().map(String::as_str).collect();
        assert_eq!(found, names.collect());
        for entry in model.params().entries() {
            if let Some(tensor) = graph.tensors.get(&entry.name) {
                assert_eq!(tensor.dims(), entry.var.dims());
                assert_eq!(tensor.values(), entry.var.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        assert_eq!(graph.tensors[&constant].values(), [2.0; 6]);
        Ok(())
    }

    /// Squares the input (`true`) or the output of its layer with candle's own operation.
    struct Squared(Conv2d, Params, bool);

    impl Model for Squared {
        fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
            match self.2 {
                true => self.0.forward(images.sqr()?, pass)?.tensor(),
                false => self.0.forward(images, pass)?.tensor()?.sqr(),
            }
        }

        fn params(&self) -> &Params {
            &self.1
        }
    }

    #[test]
    fn operations_of_candle_and_images_that_do_not_fit_are_errors() -> Result<()> {
        for (is_before, part) in [(true, "conv reads"), (false, "output is computed")] {
            let scope = Scope::new(0, &Device::Cpu);
            let conv = Conv2d::new(&scope.pp("conv"), 1, 1, ConvConfig::same(3), Init::FanOut)?;
            let error = trace(&Squared(conv, scope.finish(), is_before), [1, 4, 4]).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(trace(&Net::new()?, [3, 6, 8]).is_err());
        Ok(())
    }

    /// A batch norm, and maybe a linear layer that reads planes.
    struct Options(BatchNorm, Option<Linear>, Params);

    impl Options {
        fn new(dtype: DType, has_linear: bool) -> Result<Self> {
            let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
            let config = BatchNormConfig { eps: 0.25, affine: has_linear, ..Default::default() };
            let norm = BatchNorm::with_config(&scope.pp("norm"), 2, config)?;
            let linear = || Linear::without_bias(&scope.pp("linear"), 4, 3, Init::Uniform);
            let linear = has_linear.then(linear).transpose()?;
            Ok(Self(norm, linear, scope.finish()))
        }
    }

    impl Model for Options {
        fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
            let x = relu(self.0.forward(images, pass)?)?;
            match &self.1 {
                Some(linear) => linear.forward(&x, pass)?.tensor(),
                None => x.tensor(),
            }
        }

        fn params(&self) -> &Params {
            &self.2
        }
    }

    #[test]
    fn constants_of_a_batch_norm_are_traced() -> Result<()> {
        let graph = trace(&Options::new(DType::F32, false)?, [2, 3, 4])?;
        let Op::Norm(norm) = &graph.nodes[1].op else { panic!("{:?}", graph.nodes) };
        assert_eq!(norm.eps, 0.25);
        assert_eq!(graph.tensors[&norm.weight].values(), [1.0; 2]);
        assert_eq!(graph.tensors[&norm.bias].values(), [0.0; 2]);
        assert!(norm.weight.starts_with("constant.") && norm.mean == "norm.running_mean");
        Ok(())
    }

    #[test]
    fn a_linear_layer_on_planes_runs_and_cannot_be_traced() -> Result<()> {
        let net = Options::new(DType::F32, true)?;
        let images = Tensor::zeros((8, 2, 3, 4), DType::F32, &Device::Cpu)?;
        assert_eq!(net.forward(&images, &Pass::eval())?.dims(), [8, 2, 3, 3]);
        let error = trace(&net, [2, 3, 4]).unwrap_err().to_string();
        assert!(
            error.contains("only inputs [batch, features], and this input is [1, 2, 3, 4]"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn networks_of_other_types_are_traced_in_f32() -> Result<()> {
        struct Single(Conv2d, Params);
        impl Model for Single {
            fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
                relu(self.0.forward(images, pass)?)?.tensor()
            }
            fn params(&self) -> &Params {
                &self.1
            }
        }
        for dtype in [DType::F64, DType::BF16, DType::F16] {
            let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
            let config = ConvConfig::same(3).biased();
            let conv = Conv2d::new(&scope.pp("conv"), 1, 2, config, Init::Uniform)?;
            let graph = trace(&Single(conv, scope.finish()), [1, 4, 4])?;
            assert_eq!(graph.output_dims(), [2, 4, 4], "{dtype:?}");
            let weight = scope.finish().entries()[0].var.flatten_all()?.to_dtype(DType::F32)?;
            assert_eq!(graph.tensors["conv.weight"].values(), weight.to_vec1::<f32>()?);
        }
        Ok(())
    }
}
