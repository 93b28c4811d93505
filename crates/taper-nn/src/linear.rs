//! Fully connected layer.

use crate::{Activation, Init, ParamKind, Pass, Scope, ops};
use candle_core::{Result, Var};
use taper_core::LayerId;

/// `x·weightᵀ + bias` for `x` of shape `[batch, …, in]`, for example `[batch, tokens, in]`, and a weight `[out, in]`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use taper_nn::{Init, Linear, Pass, Scope};
///
/// let scope = Scope::new(0, &Device::Cpu);
/// let query = Linear::without_bias(&scope.pp("query"), 16, 8, Init::Uniform)?;
/// let tokens = Tensor::zeros((2, 5, 16), DType::F32, &Device::Cpu)?;
/// assert_eq!(query.forward(&tokens, &Pass::eval())?.dims(), [2, 5, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    name: String,
    id: LayerId,
    weight: Var,
    bias: Option<Var>,
}

impl Linear {
    /// Registers `weight` and `bias` ([`Init::of_bias`]) in `scope`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(scope: &Scope, features_in: usize, features_out: usize, init: Init) -> Result<Self> {
        let layer = Self::without_bias(scope, features_in, features_out, init)?;
        let bias = scope.param("bias", features_out, ParamKind::Bias, init.of_bias(features_in))?;
        Ok(Self { bias: Some(bias), ..layer })
    }

    /// Registers `weight` without a bias in `scope`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn without_bias(
        scope: &Scope,
        features_in: usize,
        features_out: usize,
        init: Init,
    ) -> Result<Self> {
        let shape = (features_out, features_in);
        let (weight, id) = scope.weight("weight", shape, ParamKind::LinearWeight, init)?;
        Ok(Self { name: scope.path().to_string(), id, weight, bias: None })
    }

    /// Applies the layer to `x`. The last dimension of `x` is the features.
    ///
    /// # Errors
    /// If `x` has the wrong number of features, or if the pass is traced and `x` is not `[batch, in]`.
    pub fn forward(&self, x: impl Into<Activation>, pass: &Pass) -> Result<Activation> {
        let weights = pass.weights(self.id, &self.weight, self.bias.as_ref())?;
        let y = ops::linear(&pass.enter(&self.name, x)?, &weights)?;
        let dims = y.dims();
        // Each row of an image costs one product with the weight.
        let rows: usize = dims.iter().take(dims.len().saturating_sub(1)).skip(1).product();
        pass.report(&self.name, Some(self.id), &y, (self.weight.elem_count() * rows) as u64)?;
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ForwardHook, Gates, LayerEvent, Mode};
    use candle_core::{DType, Device, Tensor};
    use std::sync::Mutex;

    fn layer(has_bias: bool) -> Result<(Linear, Scope)> {
        let scope = Scope::new(0, &Device::Cpu);
        let build = if has_bias { Linear::new } else { Linear::without_bias };
        Ok((build(&scope.pp("fc"), 6, 4, Init::Uniform)?, scope))
    }

    fn bits(x: &Tensor) -> Result<Vec<u32>> {
        Ok(x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    }

    #[test]
    fn inputs_of_any_rank_give_the_bits_of_a_batch_of_rows() -> Result<()> {
        let values = (0..240).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
        let flat = Tensor::from_vec(values, (40, 6), &Device::Cpu)?;
        for has_bias in [true, false] {
            let (layer, scope) = layer(has_bias)?;
            let vars: Vec<Var> = scope.finish().entries().iter().map(|e| e.var.clone()).collect();
            assert_eq!(vars.len(), 1 + usize::from(has_bias));
            let run = |x: &Tensor| -> Result<Vec<Vec<u32>>> {
                let x = Var::from_tensor(x)?;
                let y = layer.forward(x.as_tensor(), &Pass::train(&Gates::NONE))?.tensor()?;
                let (mut dims, features) = (x.dims().to_vec(), x.rank() - 1);
                dims[features] = 4;
                assert_eq!(y.dims(), dims);
                let grads = y.sqr()?.sum_all()?.backward()?;
                let grad = |var: &Var| bits(grads.get(var).expect("a gradient"));
                std::iter::once(bits(&y))
                    .chain(std::iter::once(grad(&x)))
                    .chain(vars.iter().map(grad))
                    .collect()
            };
            let want = run(&flat)?;
            for dims in [&[5, 8, 6][..], &[40, 1, 6], &[2, 2, 10, 6]] {
                assert_eq!(run(&flat.reshape(dims)?)?, want, "{dims:?}");
            }
            for dims in [&[0, 6][..], &[0, 5, 6], &[5, 0, 6]] {
                let none =
                    layer.forward(Tensor::zeros(dims, DType::F32, &Device::Cpu)?, &Pass::eval())?;
                assert_eq!((none.dims().len(), none.tensor()?.elem_count()), (dims.len(), 0));
            }
            let row = layer.forward(flat.get(3)?, &Pass::eval())?.tensor()?;
            let one = layer.forward(flat.narrow(0, 3, 1)?, &Pass::eval())?.tensor()?;
            assert_eq!((row.dims(), bits(&row)?), (&[4][..], bits(&one)?));
        }
        Ok(())
    }

    #[test]
    fn views_are_read_in_their_own_order() -> Result<()> {
        let (layer, _) = layer(true)?;
        let x = Tensor::arange(0f32, 60.0, &Device::Cpu)?.reshape((5, 2, 6))?;
        let forward = |x: &Tensor| bits(&layer.forward(x, &Pass::eval())?.tensor()?);
        let turned = x.transpose(0, 1)?;
        assert_eq!(forward(&turned)?, forward(&turned.contiguous()?)?);
        Ok(())
    }

    struct Macs(Mutex<Vec<u64>>);

    impl ForwardHook for Macs {
        fn layer(&self, event: &LayerEvent) -> Result<()> {
            self.0.lock().unwrap().push(event.macs);
            Ok(())
        }
    }

    #[test]
    fn every_row_of_an_image_counts_in_the_macs() -> Result<()> {
        let (layer, _) = layer(true)?;
        let macs = Macs(Mutex::default());
        for dims in [&[2, 6][..], &[2, 5, 6], &[2, 3, 5, 6], &[6]] {
            let x = Tensor::zeros(dims, DType::F32, &Device::Cpu)?;
            layer.forward(&x, &Pass::eval().watched_by(&macs))?;
        }
        assert_eq!(*macs.0.lock().unwrap(), [24, 24 * 5, 24 * 15, 24]);
        Ok(())
    }

    #[test]
    fn wrong_features_and_missing_weights_are_errors() -> Result<()> {
        let (layer, _) = layer(true)?;
        let forward = |dims: &[usize], pass: &Pass| {
            let x = Tensor::zeros(dims, DType::F32, &Device::Cpu)?;
            layer.forward(&x, pass).map(drop)
        };
        for dims in [&[2, 5][..], &[2, 6, 5], &[]] {
            let error = forward(dims, &Pass::eval()).unwrap_err().to_string();
            assert!(error.starts_with("linear: "), "{error}");
        }
        let error = forward(&[2, 6], &Pass::new(Mode::Paths(&[]), &Gates::NONE)).unwrap_err();
        assert!(error.to_string().contains("given 0 weights, and layer 0 has none"), "{error}");
        Ok(())
    }
}
