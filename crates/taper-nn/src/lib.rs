//! Candle layers on top of the taper kernels, and the ordered registry of their parameters.
//!
//! A model is built in a [`Scope`]. The scope names parameters as in PyTorch's state dict, and initializes them from a
//! seed. The forward pass takes a [`Pass`]: the mode, and the [`Gates`] of a pruner. Gates are a plain value, so the
//! same model runs dense or pruned, and the call shows which.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use taper_nn::{Conv2d, ConvConfig, Init, Pass, Scope};
//!
//! let scope = Scope::new(0, &Device::Cpu);
//! let conv = Conv2d::new(&scope.pp("conv1"), 3, 8, ConvConfig::same(3), Init::FanOut)?;
//! let params = scope.finish();
//! assert_eq!(params.layers()[0].name, "conv1.weight");
//!
//! let images = Tensor::zeros((2, 3, 8, 8), candle_core::DType::F32, &Device::Cpu)?;
//! assert_eq!(conv.forward(&images, &Pass::eval())?.dims(), [2, 8, 8, 8]);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! A [`Scope`] can also use the values of a checkpoint or existing variables, and types other than f32.
//!
//! A custom layer registers its weight with [`Scope::weight`]. It computes with the pruned weight,
//! `pass.weights(…)?.pruned()?` ([`Pass::weights`], [`pruned`](ops::Weights::pruned)); the gradient of the pruned
//! weight is passed straight through to the dense weight. The layer may use any operation of candle. To be exported, it
//! must start with [`Pass::enter`] and use only the operations of [`ops`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "only makes test inputs"))]

mod conv;
mod conv_config;
mod gate;
pub mod graph;
mod linear;
mod norm;
pub mod ops;
mod params;
mod pass;
mod scope;
mod source;
mod traced;

pub use conv::Conv2d;
pub use conv_config::ConvConfig;
pub use gate::{Gate, Gates, Sampling, Value};
pub use linear::Linear;
pub use norm::{BatchNorm, BatchNormConfig};
pub use ops::{
    Activation, KernelContext, MaxWindows, average, concat, global_average, max_pool, relu,
};
pub use params::{Entry, LoadError, ParamKind, Params, Tracking};
pub use pass::{ForwardHook, LayerEvent, Mode, Pass};
pub use scope::{Init, Scope};

#[doc(no_inline)]
pub use candle_core;

use candle_core::{Result, Tensor};

/// A network for images.
pub trait Model: Send + Sync {
    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// If the images do not fit the network.
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor>;

    /// The parameters and buffers, in the order of the state dict.
    fn params(&self) -> &Params;
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
