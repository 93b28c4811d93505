//! The training loop, with optimizers, learning rates, losses, callbacks and checkpoints.
//!
//! [`train()`] is one function. Code that changes the result is in the function; a [`Callback`] only observes. A
//! [`Run`] accepts any [`Optimizer`], [`LearningRate`] and [`Loss`]. A run resumed from a [`checkpoint`] ends in the
//! same bytes as an uninterrupted run.
//!
//! ```
//! use candle_core::Device;
//! use taper_core::Sparsity;
//! use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
//! use taper_prune::Pruner;
//! use taper_train::{Callbacks, Outcome, Progress, Recipe, Run, train};
//!
//! let data = Dataset::open("digits", &OpenOptions { limit: Some(64), ..Default::default() })?;
//! let normalisation = data.normalisation.clone();
//! let batches = Loader::new(data.train.clone(), LoaderConfig::train(16, Augment::None, normalisation.clone(), 0))?;
//! let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(64, normalisation))?;
//! let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
//!
//! let recipe = Recipe { epochs: 2, lr: 0.05, ..Recipe::default() };
//! let pruner = Pruner::feather(model.params().prunable(), Sparsity::new(0.9)?, recipe.total_steps(&batches))?;
//! let mut run = Run::new(&*model, Some(pruner), &batches, &test, recipe, &Device::Cpu);
//! let outcome = train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;
//! assert!(matches!(outcome, Outcome::Finished(progress) if progress.step == 8));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "test inputs need not be bit-identical")
)]

mod analysis;
mod best;
mod calibrate;
pub mod callback;
pub mod checkpoint;
mod clip;
mod error;
mod eval;
mod grad_norm;
mod learning_rate;
mod loss;
mod metrics;
mod optimizer;
mod oracle;
mod recipe;
mod run;
mod train;

pub use analysis::{Analysis, LayerAnalysis, analyse, layer_macs, n_kept};
pub use best::best_epoch;
pub use calibrate::calibrate;
pub use callback::{Callback, Callbacks, EpochEvent, Flow, StepEvent};
pub use clip::clip_factor;
pub use error::TrainError;
pub use eval::{Evaluation, evaluate};
pub use grad_norm::{GradNorm, PrunedSquares};
pub use learning_rate::{ConstantRate, Cosine, LearningRate, StepDecay, Warmup};
pub use loss::{CrossEntropy, Loss};
pub use metrics::{Progress, Tally};
pub use optimizer::{
    AdamW, FromCandle, Ham, Optimizer, OptimizerState, Sgd, forget_at, remember_at,
};
pub use oracle::ModelOracle;
pub use recipe::Recipe;
pub use run::{Run, StepDone};
pub use taper_nn::ops::cross_entropy;
pub use taper_record::epoch::EpochMetrics;
pub use train::{Outcome, train};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
