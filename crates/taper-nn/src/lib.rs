//! Candle layers over the taper kernels, and the ordered registry of their parameters.
//!
//! A model is built in a [`Scope`], which names its parameters as PyTorch's state dict does and initialises them
//! from a seed. Its forward pass takes a [`Pass`]: the mode, and the [`Gates`] that a pruner hands to the layers.
//! Gates are a plain value, so one model runs dense, gated or baked, and which it is can be seen at the call.
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
//! A [`Scope`] also takes values from a checkpoint or variables that exist, and parameters of other types than f32.
//!
//! A layer of one's own registers its weight by [`Scope::weight`], and computes with [`Pass::weights`] and
//! [`pruned`](ops::Weights::pruned): the pruned weight, whose gradient goes straight through to the dense one. It may
//! compute by any operation of candle's; by those of [`ops`] alone it is exported as well, if it begins with
//! [`Pass::enter`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "makes inputs, and wants no bits"))]

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
    /// If the images do not have the shape that the network was built for.
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor>;

    /// Its parameters and buffers, in the order of the state dict.
    fn params(&self) -> &Params;
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
