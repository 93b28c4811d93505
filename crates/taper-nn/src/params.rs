//! The ordered registry of a model's parameters and buffers.

use crate::ops::is_finite;
use candle_core::{DType, Result, Tensor, Var};
use taper_core::{LayerInfo, LayerKind};

/// Kind of a parameter. It decides whether the parameter is pruned, and whether weight decay applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Weight of a convolution.
    ConvWeight,
    /// Weight of a linear layer.
    LinearWeight,
    /// Bias of a convolution or linear layer.
    Bias,
    /// Weight γ of a batch norm.
    NormWeight,
    /// Bias β of a batch norm.
    NormBias,
}

impl ParamKind {
    /// Whether weight decay applies: to weights of convolutions and linear layers, not to biases and batch norm.
    pub fn is_decayed(self) -> bool {
        self.layer_kind().is_some()
    }

    /// Whether it is pruned: only weights of convolutions and linear layers are.
    pub fn is_prunable(self) -> bool {
        self.layer_kind().is_some()
    }

    fn layer_kind(self) -> Option<LayerKind> {
        match self {
            Self::ConvWeight => Some(LayerKind::Conv),
            Self::LinearWeight => Some(LayerKind::Linear),
            Self::Bias | Self::NormWeight | Self::NormBias => None,
        }
    }
}

/// How training updates a buffer with each batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tracking {
    /// A moving average: the weight of the new batch's statistic, in `[0, 1]`.
    Average(f64),
    /// It counts batches.
    Count,
}

/// A named tensor of a model.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name as in PyTorch's state dict.
    pub name: String,
    /// `None` for a buffer, which is saved but not trained.
    pub kind: Option<ParamKind>,
    /// How training updates a buffer, if it does.
    pub tracking: Option<Tracking>,
    /// The value.
    pub var: Var,
}

impl Entry {
    pub(crate) fn param(name: String, kind: ParamKind, var: Var) -> Self {
        Self { name, kind: Some(kind), tracking: None, var }
    }

    pub(crate) fn buffer(name: String, tracking: Option<Tracking>, var: Var) -> Self {
        Self { name, kind: None, tracking, var }
    }
}

/// All parameters and buffers of a model, in the order of its state dict.
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: Vec<Entry>,
}

impl Params {
    pub(crate) fn push(&mut self, entry: Entry) -> Result<()> {
        if self.entries.iter().any(|e| e.name == entry.name) {
            candle_core::bail!("parameter {} is registered twice; use a different name", entry.name)
        }
        if let Some(other) = self.entries.iter().find(|e| e.var.id() == entry.var.id()) {
            let (first, second) = (&other.name, &entry.name);
            candle_core::bail!(
                "parameters {first} and {second} are one variable, which training would update twice per step; \
                 register it under one name"
            )
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Every entry, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The trained parameters, in order.
    pub fn trained(&self) -> impl Iterator<Item = (&Entry, ParamKind)> {
        self.entries.iter().filter_map(|e| Some((e, e.kind?)))
    }

    /// The prunable weights, in order: every weight of a convolution or linear layer. The position in this
    /// list is the layer's `LayerId`.
    pub fn prunable(&self) -> impl Iterator<Item = (LayerInfo, &Var)> {
        self.trained().filter_map(|(entry, kind)| {
            let info = LayerInfo {
                name: entry.name.clone(),
                kind: kind.layer_kind()?,
                shape: entry.var.dims().to_vec(),
            };
            Some((info, &entry.var))
        })
    }

    /// Descriptions of the prunable layers, in order.
    pub fn layers(&self) -> Vec<LayerInfo> {
        self.prunable().map(|(info, _)| info).collect()
    }

    /// Number of trained values.
    pub fn n_params(&self) -> u64 {
        self.trained().map(|(entry, _)| entry.var.elem_count() as u64).sum()
    }

    /// The compute type of the model: the type of its first trained parameter, or f32.
    pub fn dtype(&self) -> DType {
        self.trained().next().map_or(DType::F32, |(entry, _)| entry.var.dtype())
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    /// Overwrites every entry with the value that `find` returns for its name.
    ///
    /// All values are checked before the first is written, so an error does not change the model.
    ///
    /// # Errors
    /// [`LoadError`] if an entry has no value, or a value of another shape.
    pub fn load(
        &self,
        mut find: impl FnMut(&str) -> Option<Tensor>,
    ) -> std::result::Result<(), LoadError> {
        let mut values = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let value =
                find(&entry.name).ok_or_else(|| LoadError::Missing { name: entry.name.clone() })?;
            if value.dims() != entry.var.dims() {
                return Err(LoadError::Shape {
                    name: entry.name.clone(),
                    expected: entry.var.dims().to_vec(),
                    found: value.dims().to_vec(),
                });
            }
            // A copy, because `Var::set` refuses the storage of the variable itself; only of this value, not of a whole storage
            // that it may be a view of.
            let value = value.to_dtype(entry.var.dtype())?.to_device(entry.var.device())?;
            let value = value.force_contiguous()?;
            values.push(value);
        }
        for (entry, value) in self.entries.iter().zip(&values) {
            entry.var.set(value)?;
        }
        Ok(())
    }

    /// The first entry that contains NaN or infinity, if any. Parameters are checked first, because an invalid batch
    /// also makes the running statistics invalid.
    ///
    /// # Errors
    /// If a value cannot be read from its device.
    pub fn first_not_finite(&self) -> Result<Option<&Entry>> {
        let buffers = self.entries.iter().filter(|e| e.kind.is_none());
        let entries = self.trained().map(|(entry, _)| entry).chain(buffers);
        for entry in entries.filter(|e| e.var.dtype().is_float()) {
            if !is_finite(&entry.var)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// Why values do not fit a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A tensor of the model is missing.
    #[error("tensor {name} of the model is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than in the model.
    #[error("tensor {name} has shape {found:?}, but the model has {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape in the model.
        expected: Vec<usize>,
        /// Its shape in the values.
        found: Vec<usize>,
    },
    /// Candle could not convert or copy a value.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, Scope};
    use candle_core::Device;

    fn two() -> Result<Params> {
        let scope = Scope::new(0, &Device::Cpu);
        scope.param("weight", (2, 2), ParamKind::LinearWeight, Init::FanOut)?;
        scope.param("bias", 2, ParamKind::Bias, Init::Constant(0.0))?;
        Ok(scope.finish())
    }

    #[test]
    fn a_failed_load_changes_nothing() -> Result<()> {
        let params = two()?;
        let before = params.entries()[0].var.to_vec2::<f32>()?;
        let ones = Tensor::ones((2, 2), DType::F32, &Device::Cpu)?;
        let error = params.load(|name| (name == "weight").then(|| ones.clone())).unwrap_err();
        assert!(error.to_string().contains("bias"), "{error}");
        assert_eq!(params.entries()[0].var.to_vec2::<f32>()?, before);
        let error = params.load(|_| Some(ones.clone())).unwrap_err();
        assert!(error.to_string().contains("[2, 2]"), "{error}");
        Ok(())
    }

    #[test]
    fn values_may_be_the_variables_themselves() -> Result<()> {
        let params = two()?;
        let bias = params.entries()[1].var.as_tensor().clone();
        let ones = Tensor::ones((2, 2), DType::F32, &Device::Cpu)?;
        let loaded =
            params.load(|name| Some(if name == "weight" { ones.clone() } else { bias.clone() }));
        loaded.expect("values that fit");
        assert_eq!(params.entries()[0].var.to_vec2::<f32>()?, [[1.0; 2]; 2]);
        Ok(())
    }

    #[test]
    fn a_variable_has_one_name() -> Result<()> {
        let mut params = two()?;
        let tied = params.entries()[0].var.clone();
        let mut push = |name: &str, var: &Var| {
            params.push(Entry::param(name.into(), ParamKind::LinearWeight, var.clone()))
        };
        let error = push("decoder.weight", &tied).unwrap_err().to_string();
        assert!(error.contains("weight and decoder.weight are one variable"), "{error}");
        push("decoder.weight", &Var::from_tensor(&tied.as_detached_tensor())?)?;
        assert_eq!(params.layers().len(), 2);
        Ok(())
    }

    #[test]
    fn only_weights_are_pruned_and_decayed() -> Result<()> {
        let params = two()?;
        assert_eq!(params.layers().len(), 1);
        assert_eq!(params.n_params(), 6);
        assert!(!ParamKind::Bias.is_decayed() && ParamKind::ConvWeight.is_decayed());
        assert!(params.first_not_finite()?.is_none());
        params.entries()[1].var.set(&Tensor::new(&[0.0f32, f32::NAN], &Device::Cpu)?)?;
        assert_eq!(params.first_not_finite()?.map(|e| e.name.as_str()), Some("bias"));
        Ok(())
    }

    #[test]
    fn the_type_is_that_of_the_parameters_and_values_of_all_types_are_checked() -> Result<()> {
        assert_eq!(two()?.dtype(), DType::F32);
        for dtype in [DType::F64, DType::BF16] {
            let scope = Scope::new(0, &Device::Cpu).with_dtype(dtype)?;
            assert_eq!(scope.finish().dtype(), DType::F32);
            scope.param("bias", 2, ParamKind::Bias, Init::Constant(f64::INFINITY))?;
            assert_eq!(scope.finish().dtype(), dtype);
            assert!(scope.finish().first_not_finite()?.is_some(), "{dtype:?}");
        }
        Ok(())
    }
}
