//! Batch normalisation.

use crate::{Activation, Init, Mode, ParamKind, Pass, Scope, ops, scope::counter};
use candle_core::{DType, Result, Tensor, Var};

/// Added to the variance before its root, as in PyTorch.
const EPS: f64 = 1e-5;
/// Batch normalisation of `[batch, channels, height, width]`, as PyTorch's `BatchNorm2d`.
///
/// In training it uses the mean and biased variance of the batch, and moves the running mean and (unbiased)
/// variance a tenth of the way towards them; in evaluation it uses the running ones.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    name: String,
    weight: Var,
    bias: Var,
    running_mean: Var,
    running_var: Var,
    n_batches: Var,
}

impl BatchNorm {
    /// Share of a batch's statistics in the running ones, as in PyTorch.
    pub const MOMENTUM: f64 = 0.1;

    /// Registers weight, bias, and the running statistics in `scope`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let device = scope.device();
        Ok(Self {
            name: scope.path().to_string(),
            weight: scope.param("weight", channels, ParamKind::NormWeight, Init::Constant(1.0))?,
            bias: scope.param("bias", channels, ParamKind::NormBias, Init::Constant(0.0))?,
            running_mean: scope
                .buffer("running_mean", Tensor::zeros(channels, DType::F32, device)?)?,
            running_var: scope
                .buffer("running_var", Tensor::ones(channels, DType::F32, device)?)?,
            n_batches: scope.buffer("num_batches_tracked", counter(device)?)?,
        })
    }

    /// Normalises `x`.
    ///
    /// # Errors
    /// If `x` does not have the channels that the layer was built for.
    pub fn forward(&self, x: impl Into<Activation>, pass: &Pass) -> Result<Activation> {
        let x = pass.enter(&self.name, x.into())?;
        let is_tracked = pass.tracks_gradients();
        let params =
            ops::NormParams { weight: &self.weight, bias: &self.bias, eps: EPS, is_tracked };
        let y = match pass.mode() {
            Mode::Train => {
                let normed = ops::batch_norm_train(&x, &params)?;
                self.track(&normed.mean, &normed.unbiased_var)?;
                normed.y
            }
            Mode::Eval => ops::batch_norm_eval(&x, &params, &self.running_mean, &self.running_var)?,
            Mode::Paths(_) => ops::indicator(&x.tensor()?)?.into(),
        };
        pass.report(&self.name, None, &y, 0)?;
        Ok(y)
    }

    fn track(&self, mean: &Tensor, unbiased_var: &Tensor) -> Result<()> {
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, unbiased_var)] {
            let moved =
                ((running.as_tensor() * (1.0 - Self::MOMENTUM))? + (batch * Self::MOMENTUM)?)?;
            running.set(&moved.detach())?;
        }
        let counted =
            (self.n_batches.as_tensor() + Tensor::ones((), DType::I64, self.n_batches.device())?)?;
        self.n_batches.set(&counted.detach())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gates;
    use candle_core::Device;

    #[test]
    fn running_statistics_follow_the_batches() -> Result<()> {
        let scope = Scope::new(0, &Device::Cpu);
        let norm = BatchNorm::new(&scope.pp("bn"), 1)?;
        let x = Tensor::new(&[1.0f32, 3.0], &Device::Cpu)?.reshape((2, 1, 1, 1))?;
        let y = norm
            .forward(&x, &Pass::train(&Gates::NONE))?
            .tensor()?
            .flatten_all()?
            .to_vec1::<f32>()?;
        assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4, "{y:?}");
        let value = |name: &str| scope.finish().get(name).unwrap().var.flatten_all().unwrap();
        assert!((value("bn.running_mean").to_vec1::<f32>()?[0] - 0.2).abs() < 1e-6);
        // The unbiased variance of 1 and 3 is 2.
        assert!((value("bn.running_var").to_vec1::<f32>()?[0] - 1.1).abs() < 1e-6);
        assert_eq!(value("bn.num_batches_tracked").to_vec1::<i64>()?, [1]);
        norm.forward(&x, &Pass::eval())?;
        assert_eq!(value("bn.num_batches_tracked").to_vec1::<i64>()?, [1]);
        Ok(())
    }
}
