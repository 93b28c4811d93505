//! Guide: prune your own training loop, choose a method, add your own parts, export the network.
//!
//! What you will learn:
//!
//! - [Prune any candle model](#prune-any-candle-model) with two lines in its training loop.
//! - [Clip, evaluate, save and resume](#clip-evaluate-save-and-resume) in the same loop.
//! - [Choose the parts of a method](#choose-the-parts-of-a-method): schedule, criterion, allocation, gradient and
//!   others.
//! - [Write your own schedule](#write-your-own-schedule).
//! - [Export the network](#export-the-network) for other tools.
//! - [Use the complete training loop](#use-the-complete-training-loop).
//!
//! # Prune any candle model
//!
//! Two lines in the training loop prune any candle model, whatever layers it has:
//!
//! 1. [`impose`](crate::prune::Pruner::impose), before the forward pass, writes the pruned weights into the variables.
//! 2. [`lift`](crate::prune::Imposed::lift), after the backward pass, restores the dense weights and replaces their
//!    gradients by straight-through gradients.
//!
//! This example trains an MLP with Feather to a sparsity of 90 %:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
//! use taper::prelude::*;
//!
//! let varmap = VarMap::new();
//! let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
//! let model = candle_nn::seq()
//!     .add(candle_nn::linear(16, 32, vb.pp("fc1"))?)
//!     .add(candle_nn::Activation::Relu)
//!     .add(candle_nn::linear(32, 4, vb.pp("fc2"))?);
//! let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.05)?;
//! let (x, y) = (Tensor::randn(0f32, 1.0, (64, 16), &Device::Cpu)?, Tensor::zeros(64, DType::U32, &Device::Cpu)?);
//!
//! let vars = varmap.data().lock().unwrap().clone();
//! let mut pruner = Pruner::feather(prunable_vars(vars), Sparsity::new(0.9)?, 100)?;
//! for step in 0..100 {
//!     let pruned = pruner.impose(Step(step))?;
//!     let mut grads = candle_nn::loss::cross_entropy(&model.forward(&x)?, &y)?.backward()?;
//!     pruned.lift(&mut grads)?;
//!     sgd.step(&grads)?;
//! }
//! assert_eq!(pruner.bake()?, 640 - 64); // the pruned weights are now 0
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! After training, [`bake`](crate::prune::Pruner::bake) writes the pruned weights into the variables permanently. It
//! returns the number of zeros.
//!
//! - [`prunable_vars`](crate::prune::prunable_vars) selects the weights of linear layers, recurrent layers and
//!   convolutions. It selects a tied variable once, and logs the variables that it skips. Embeddings look like linear
//!   layers: remove them from the list first.
//! - Weights may be f32, f64, bf16 or f16. They are ranked in f32. Gradients that a part of the method changes, such as
//!   a decay of pruned weights, are computed in f32, and so are the values of operators without a threshold. Everything
//!   else is computed in their own type. The dense weights come back bit-identical.
//! - Steps count over the whole run, not per epoch. A step number below the previous one is an error.
//! - Candle still multiplies by the zeros: the model becomes sparse, but not faster. For speed and for export, build
//!   the model from the layers of [`nn`](crate::nn). *Extending* in the book shows how.
//!
//! # Clip, evaluate, save and resume
//!
//! - **Clip** gradients after `lift`. With [`PrunedUpdate::EveryNth`](crate::prune::PrunedUpdate::EveryNth), clip
//!   before `lift`, because `lift` multiplies the gradients of pruned weights by n. This would raise the norm, and
//!   clipping would then shrink the updates of kept weights.
//! - **Evaluate** after [`impose_refreshed`](crate::prune::Pruner::impose_refreshed), while the value that it returns
//!   is alive. The model then computes with the weights that `bake` would write.
//! - **Save** the variables, the optimizer and [`Pruner::state`](crate::prune::Pruner::state).
//! - **Resume** with [`Pruner::restore`](crate::prune::Pruner::restore).
//!
//! ```
//! # use candle_core::{DType, Device, Tensor};
//! # use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
//! use taper::prelude::*;
//!
//! # let varmap = VarMap::new();
//! # let model = candle_nn::linear(16, 4, VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu))?;
//! # let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.05)?;
//! # let (x, y) = (Tensor::ones((8, 16), DType::F32, &Device::Cpu)?, Tensor::zeros(8, DType::U32, &Device::Cpu)?);
//! # let loss = || candle_nn::loss::cross_entropy(&model.forward(&x)?, &y);
//! let vars = || varmap.data().lock().unwrap().clone();
//! let target = Sparsity::new(0.75)?;
//! let build = || Pruner::feather(prunable_vars(vars()), target, 20);
//! let mut pruner = build()?;
//! # for step in 0..10 {
//! #     let pruned = pruner.impose(Step(step))?;
//! #     let mut grads = loss()?.backward()?;
//! #     pruned.lift(&mut grads)?;
//! #     sgd.step(&grads)?;
//! # }
//! let state = pruner.state(); // plain numbers; store them in any format
//!
//! // In another process, after loading the variables and the optimizer:
//! let mut pruner = build()?;
//! pruner.restore(state)?;
//! for step in 10..20 {
//!     let pruned = pruner.impose(Step(step))?;
//!     let mut grads = loss()?.backward()?;
//!     pruned.lift(&mut grads)?;
//!     sgd.step(&grads)?;
//! }
//! {
//!     let _pruned = pruner.impose_refreshed()?; // evaluate here
//!     assert!(loss()?.to_scalar::<f32>()?.is_finite());
//! }
//! assert_eq!(pruner.bake()?, 48);
//! # let folder = std::env::temp_dir().join(format!("taper-own-loop-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("model.safetensors");
//! varmap.save(&path)?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Choose the parts of a method
//!
//! A pruning method is a choice for each of these parts. [`Pruner::builder`](crate::prune::Pruner::builder) takes the
//! schedule; methods of [`PrunerBuilder`](crate::prune::PrunerBuilder) set the other parts. The defaults are those of
//! Feather, with exact counts.
//!
//! | part | decides | set by | default |
//! | --- | --- | --- | --- |
//! | schedule | the sparsity at each step | `builder` | required |
//! | criterion | the score of each weight | `criterion` | magnitude |
//! | allocation | the number of kept weights in each group of layers | `allocation` | one global group |
//! | structure | which weights are kept or pruned together | `structure` | single weights |
//! | mask updates | when masks change | `cadence`, `renewal` | every step |
//! | quantile | how the threshold is computed | `quantile` | exact count |
//! | operator | the value of a kept weight | `threshold`, `operator` | Feather's, p = 3 |
//! | gradient scale | the factor on the gradient of pruned weights | `gradient` | 0.5 for targets above 95 %, else 1 |
//! | gradient updates | when the gradient of pruned weights is computed | `pruned_update` | every step |
//! | permanent pruning | which pruned weights can never return | `drop` | none |
//! | dead filters | the gradient of filters without kept weights | `dead_filters` | as for other weights |
//! | initial scale | a factor on the initial weights, once the first masks exist | `initial_scale` | none |
//!
//! [`remainder`](crate::prune::PrunerBuilder::remainder) sets the gradient scale, the gradient updates and permanent
//! pruning at once. It also sets whether pruned weights are 0, decay, or have a penalty.
//!
//! ```
//! use candle_core::Device;
//! use taper::prelude::*;
//! use taper::prune::{Quantile, allocation::{Erk, Pin, Pinned}};
//!
//! let model = taper::zoo::build("resnet20", 10, 0, &Device::Cpu)?;
//! let stem = Pin { pattern: "conv1.weight".into(), at_most: Sparsity::DENSE };
//! let schedule = Ramp::new(Curve::Cosine, Step(10), Step(80), Sparsity::new(0.95)?);
//! let mut pruner = Pruner::builder(model.params().prunable(), schedule, 100)
//!     .threshold(Threshold::Soft)
//!     .gradient(Constant::new(0.25)?)
//!     .allocation(Pinned { inner: Box::new(Erk::default()), pins: vec![stem] })
//!     .quantile(Quantile::Exact)
//!     .cadence(Cadence::every(5)?)
//!     .build()?;
//! let gates = pruner.begin_step(Step(80))?;
//! assert_eq!(pruner.report().layers[0].n_kept, 864); // the stem is dense
//! # let _ = gates;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! These options go beyond Feather:
//!
//! - an adaptive schedule, which prunes more slowly while the masks are unstable
//!   ([`Adaptive`](crate::schedule::Adaptive));
//! - a gradient scale that falls as the sparsity rises ([`Falling`](crate::scale::Falling));
//! - permanent pruning: dropped weights stay 0 ([`DropPolicy`](crate::prune::DropPolicy));
//! - no gradient for dead filters ([`DeadFilters::Silent`](crate::prune::DeadFilters::Silent)).
//!
//! ```
//! use candle_core::Device;
//! use taper::prelude::*;
//!
//! let model = taper::zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
//! let ramp = Ramp::feather(Sparsity::new(0.98)?, 100);
//! let by_step_70 = Adaptation { window: 5, ..Adaptation::by(Step(70)) };
//! let mut pruner = Pruner::builder(model.params().prunable(), Adaptive::new(ramp, by_step_70)?, 100)
//!     .gradient(Falling::new(Fall::Cosine, 0.5)?)
//!     .drop(DropPolicy::constant(DropRule::Smallest, 0.5))
//!     .dead_filters(DeadFilters::Silent)
//!     .build()?;
//! pruner.begin_step(Step(70))?; // the target is reached at this step in any case
//! assert_eq!(pruner.report().n_kept(), 476); // of 23,824
//! assert_eq!(pruner.report().n_dropped(), 11_674); // half of the pruned weights
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Some methods choose masks by gradients, or regrow weights: `lift` returns what the optimizer must do then. With
//! [`Changed::is_skipped`](crate::prune::Changed), the gradients of this step were only for the masks, so the optimizer
//! skips it. [`Changed::forgotten`](crate::prune::Changed) marks the weights whose momentum starts at 0 again; the
//! optimizers of [`train`](crate::train) do this with [`forget`](crate::train::Optimizer::forget), and plain SGD has no
//! momentum. This is RigL:
//!
//! ```
//! # use candle_core::{DType, Device, Tensor};
//! # use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
//! use taper::prelude::*;
//! use taper::prune::{Remainder, renewal::Swap};
//! use taper::schedule::{Curve, Ramp};
//!
//! # let varmap = VarMap::new();
//! # let model = candle_nn::linear(16, 4, VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu))?;
//! # let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.05)?;
//! # let (x, y) = (Tensor::ones((8, 16), DType::F32, &Device::Cpu)?, Tensor::zeros(8, DType::U32, &Device::Cpu)?);
//! # let vars = varmap.data().lock().unwrap().clone();
//! let sparse = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::new(0.75)?);
//! let mut pruner = Pruner::builder(prunable_vars(vars), sparse, 40)
//!     .threshold(Threshold::Hard)
//!     .remainder(Remainder::zero())
//!     .renewal(Swap { every: 10, ..Swap::default() })
//!     .build()?;
//! let mut n_skipped = 0;
//! for step in 0..40 {
//!     let pruned = pruner.impose(Step(step))?;
//!     let mut grads = candle_nn::loss::cross_entropy(&model.forward(&x)?, &y)?.backward()?;
//!     let changed = pruned.lift(&mut grads)?;
//!     match changed.is_skipped {
//!         true => n_skipped += 1,
//!         false => sgd.step(&grads)?,
//!     }
//! }
//! assert_eq!(n_skipped, 3); // steps 10, 20 and 30
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An operator with learned thresholds (STR) learns in [`Pruner::learn`](crate::prune::Pruner::learn): call it after the
//! optimizer's step, with the factor of gradient clipping (1 without) and the learning rate. Without it, the thresholds
//! stay, and almost nothing is pruned.
//!
//! # Write your own schedule
//!
//! A schedule returns the sparsity of a step and its final sparsity. A closed form needs nothing else:
//!
//! ```
//! use taper::prelude::*;
//!
//! #[derive(Debug)]
//! struct Staircase { target: Sparsity, every: u64 }
//!
//! impl SparsitySchedule for Staircase {
//!     fn sparsity(&self, step: Step) -> Sparsity {
//!         Sparsity::saturating(0.1 * (step.0 / self.every) as f64).min(self.target)
//!     }
//!     fn target(&self) -> Sparsity {
//!         self.target
//!     }
//! }
//!
//! let model = taper::zoo::build("digits-cnn", 10, 0, &candle_core::Device::Cpu)?;
//! let stairs = Staircase { target: Sparsity::new(0.25)?, every: 10 };
//! let mut pruner = Pruner::builder(model.params().prunable(), stairs, 100).build()?;
//! pruner.begin_step(Step(19))?;
//! assert_eq!(pruner.report().n_kept(), 21_442); // of 23,824, at 10 %
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An adaptive schedule also implements:
//!
//! - [`window`](crate::schedule::SparsitySchedule::window): over how many steps mask changes are measured;
//! - [`observe`](crate::schedule::SparsitySchedule::observe): receives each measured change;
//! - [`state`](crate::schedule::SparsitySchedule::state) and [`restore`](crate::schedule::SparsitySchedule::restore):
//!   its memory, for resumed runs.
//!
//! [`Adaptive`](crate::schedule::Adaptive) is an example.
//!
//! *Extending* in the book shows how to write your own criteria, gradient scales, allocations, callbacks, optimizers,
//! losses, layers and architectures.
//!
//! # Export the network
//!
//! Taper finds the graph of a model by tracing its forward pass. Your own models can therefore be exported, too, if
//! they compute only with Taper's layers and operations. The graph ([`graph::Graph`](crate::graph::Graph)) contains no
//! candle tensors.
//!
//! ```
//! use taper::export::{Format, Network, Options, export};
//!
//! let model = taper::zoo::build("digits-cnn", 10, 0, &candle_core::Device::Cpu)?;
//! let network = Network::of(&*model, [1, 8, 8], Default::default())?;
//! # let folder = std::env::temp_dir().join(format!("taper-guide-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("digits.onnx");
//! let options = Options { overwrite: true, ..Options::default() };
//! export(&network.folded()?, Format::Onnx, &path, &options)?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Use the complete training loop
//!
//! [`train::train`](crate::train::train) is the training loop of the command `taper train`. The example `short` of
//! `taper-train` uses it.
