//! Sparse training on candle: every taper crate under one name.
//!
//! Taper makes networks sparse while they train. This crate re-exports the others; depend on one of those alone where
//! that is enough.
//!
//! | module | crate | what |
//! | --- | --- | --- |
//! | [`core`] | `taper-core` | checked units, layer descriptions, mask feedback |
//! | [`schedule`] | `taper-schedule` | how sparse at which step |
//! | [`scale`] | `taper-scale` | how much gradient a pruned weight receives |
//! | [`kernels`] | `taper-kernels` | CPU kernels over slices |
//! | [`graph`] | `taper-graph` | the graph of a network, free of tensors of candle |
//! | [`nn`] | `taper-nn` | candle layers that take gates |
//! | [`prune`] | `taper-prune` | allocation, cuts, the pruner |
//! | [`zoo`] | `taper-zoo` | architectures |
//! | [`data`] | `taper-data` | data sets, augmentation, the loader |
//! | [`distributed`] | `taper-distributed` | processes that train one network together |
//! | [`record`] | `taper-record` | the files of a run |
//! | [`train`] | `taper-train` | the loop, optimizers, learning rates, losses, callbacks, checkpoints |
//! | [`export`] | `taper-export` | files that other tools load |
//! | [`onnx`] | `taper-onnx` | graphs of ONNX files |
//! | [`infer`] | `taper-infer` | compiled inference |
//!
//! The [`guide`] shows how to use them: in two lines of your own loop, or as a whole.
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

/// What most programs need.
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

/// Compiles and runs the code of the book.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/extending.md")]
struct Book;
