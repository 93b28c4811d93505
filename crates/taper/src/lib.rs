//! Prune neural networks while they train, on top of [candle](https://github.com/huggingface/candle).
//!
//! A method such as Feather ([arXiv:2310.02448](https://arxiv.org/abs/2310.02448)) computes with pruned weights and
//! keeps the dense weights. A straight-through estimator passes gradients to the dense weights, so a pruned weight can
//! return. A schedule raises the sparsity to its target during training. At the end, the pruned weights are exactly 0.
//!
//! Any candle model can be pruned with two lines in its training loop:
//!
//! ```
//! use taper::prelude::*;
//! # use candle_core::{DType, Device, Tensor};
//! # use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
//! # let varmap = VarMap::new();
//! # let model = candle_nn::linear(16, 4, VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu))?;
//! # let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.05)?;
//! # let (x, y) = (Tensor::ones((8, 16), DType::F32, &Device::Cpu)?, Tensor::zeros(8, DType::U32, &Device::Cpu)?);
//! # let vars = varmap.data().lock().unwrap().clone();
//! let mut pruner = Pruner::feather(prunable_vars(vars), Sparsity::new(0.75)?, 20)?;
//! for step in 0..20 {
//!     let pruned = pruner.impose(Step(step))?; // the weights are sparse from here …
//!     let mut grads = candle_nn::loss::cross_entropy(&model.forward(&x)?, &y)?.backward()?;
//!     pruned.lift(&mut grads)?; // … to here: dense again, with straight-through gradients
//!     sgd.step(&grads)?;
//! }
//! assert_eq!(pruner.bake()?, 48); // 48 of 64 weights are now 0
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where to start:
//!
//! - The [`guide`] explains this example, then the other parts: evaluation, resuming, the choices of a method, export.
//! - The [`prelude`] imports what most programs need.
//! - Models built from the layers of [`nn`] train faster as they get sparser, and can be exported.
//! - [`train::train`] is a complete training loop; [`zoo`] has networks, [`data`] has data sets.
//!
//! This crate re-exports the other Taper crates. If one of them is enough, depend on it directly.
//!
//! | module | crate | contents |
//! | --- | --- | --- |
//! | [`prune`] | `taper-prune` | the pruner: criteria, allocation, thresholds, masks, gradients |
//! | [`schedule`] | `taper-schedule` | sparsity schedules |
//! | [`scale`] | `taper-scale` | gradient scales of pruned weights |
//! | [`nn`] | `taper-nn` | candle layers with pruned weights |
//! | [`zoo`] | `taper-zoo` | network architectures |
//! | [`data`] | `taper-data` | data sets, augmentation, the loader |
//! | [`train`] | `taper-train` | the training loop, optimizers, learning rates, losses, callbacks, checkpoints |
//! | [`distributed`] | `taper-distributed` | several processes that train one network |
//! | [`record`] | `taper-record` | the files of a run |
//! | [`export`] | `taper-export` | files for other tools, and their readers |
//! | [`graph`] | `taper-graph` | the graph of a network, without candle tensors |
//! | [`onnx`] | `taper-onnx` | a reader of ONNX files |
//! | [`infer`] | `taper-infer` | compiled inference on CPUs |
//! | [`kernels`] | `taper-kernels` | CPU kernels over slices |
//! | [`core`] | `taper-core` | sparsity, steps, layer descriptions, mask feedback |
//!
//! The features `cuda`, `cudnn`, `metal`, `accelerate` and `mkl` enable the features of the same name in candle. None
//! is on by default.
#![forbid(unsafe_code)]

pub mod guide;

#[doc(no_inline)]
pub use taper_nn::candle_core;

pub use taper_core as core;
pub use taper_data as data;
pub use taper_distributed as distributed;
pub use taper_export as export;
pub use taper_graph as graph;
pub use taper_infer as infer;
pub use taper_kernels as kernels;
pub use taper_nn as nn;
pub use taper_onnx as onnx;
pub use taper_prune as prune;
pub use taper_record as record;
pub use taper_scale as scale;
pub use taper_schedule as schedule;
pub use taper_train as train;
pub use taper_zoo as zoo;

/// The items that most programs need.
pub mod prelude {
    pub use taper_core::{Sparsity, Step};
    pub use taper_kernels::threshold::Threshold;
    pub use taper_nn::{Gates, Model, Pass};
    pub use taper_prune::{DeadFilters, DropPolicy, DropRule, Pruner, prunable_vars};
    pub use taper_scale::{Constant, Fall, Falling, FeatherRule, GradientScale};
    pub use taper_schedule::{Adaptation, Adaptive, Cadence, Curve, Ramp, SparsitySchedule};
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles and runs the code of the book's page *Extending*.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/extending.md")]
struct Book;
