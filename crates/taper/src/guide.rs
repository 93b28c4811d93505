//! Guide.
//!
//! # Feather in two lines of your own loop
//!
//! Any candle model can be pruned while it trains, whatever its layers are. One line before the forward pass puts
//! the pruned weights into the variables, one after the backward pass takes them out and gives the dense weights
//! their straight-through gradient:
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
//! assert_eq!(pruner.bake()?, 640 - 64); // the weights now hold their zeros
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`prunable_vars`](crate::prune::prunable_vars) takes the weights of linear and recurrent layers and of convolutions, a
//! tied variable once, and logs what it leaves out. Weights may be f32, f64, bf16 or f16: they are ranked in f32, and all
//! else is computed in their own type, so that the dense weights come back to the bit. Steps count over the whole run; one
//! below the last is an error.
//!
//! Candle multiplies by the zeros, so such a model is pruned and not faster. For speed and for export, write it over the
//! layers of [`nn`](crate::nn): *Extending* in the book has one.
//!
//! The rest of a loop: clip gradients after `lift`, or before it with
//! [`PrunedUpdate::EveryNth`](crate::prune::PrunedUpdate::EveryNth), whose multiples would starve kept weights; evaluate
//! between [`Pruner::impose_refreshed`](crate::prune::Pruner::impose_refreshed) and the drop of what it returns, so that
//! the measured weights are the ones that will be baked; save [`Pruner::state`](crate::prune::Pruner::state) with the
//! variables and the optimizer to go on later:
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
//! let state = pruner.state(); // plain numbers, to be stored as you store the rest
//!
//! // In another process, with the variables as they were:
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
//! # Choices
//!
//! [`Pruner::builder`](crate::prune::Pruner::builder) takes each part of the method by itself:
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
//! What goes beyond Feather is chosen in the same place: a clock that answers to the masks, a gradient scale that falls with
//! the sparsity reached, pruned weights that leave for good, dead filters without a gradient.
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
//! pruner.begin_step(Step(70))?; // whatever the masks did
//! assert_eq!(pruner.report().n_kept(), 476); // of 23,824
//! assert_eq!(pruner.report().n_dropped(), 11_674); // half of the others
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A schedule of your own
//!
//! A schedule answers one question, and a closed form needs nothing else:
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
//! One that listens to the masks says by [`window`](crate::schedule::SparsitySchedule::window) over how many steps, hears
//! of each change in [`observe`](crate::schedule::SparsitySchedule::observe), and gives what it remembers in `state`, so that
//! a resumed run goes on with it; [`Adaptive`](crate::schedule::Adaptive) is one.
//!
//! Gradient policies, allocations, callbacks and architectures of your own are in the book, under *Extending*.
//!
//! # Files for other tools
//!
//! What a model of taper's layers computes is found by tracing its forward pass, so any of them can be exported. The graph
//! ([`graph::Graph`](crate::graph::Graph)) holds no tensors of candle.
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
//! # The whole loop
//!
//! [`train::train`](crate::train::train) is the loop of the command line; see the example `short` of
//! `taper-train`.
