//! Taper's side of `cargo xtask bench`: runs what a request names, and reports the time.
//!
//! Reads one request per line as JSON, and writes one line of JSON for each. `benches/peers/step.py` reads the same
//! requests and runs them in PyTorch.

#[path = "session/method.rs"]
mod method;

use anyhow::{Context, bail, ensure};
use candle_core::{D, DType, Device, Tensor};
use method::{Method, multiplications};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashMap, io::BufRead, path::PathBuf, time::Instant};
use taper::{
    core::{Sparsity, Step, rng::Rng},
    distributed::{Ranks, Threads},
    kernels::{
        conv::{
            ConvShape,
            blocked::{BlockedConv, GradAt, InputGrad, PackedWeights, Packing, WeightGrad},
            scalar,
        },
        fused::{GradSource, Source},
        lanes::{Lanes, from_nchw, to_nchw},
        mask::Mask,
        tree::BatchShare,
    },
    nn::{Gates, KernelContext, Model, ParamKind, Pass, ops},
    prune::{Changed, PrunedUpdate, Pruner},
    schedule::{Curve, Ramp},
    train::{GradNorm, Optimizer, Sgd, clip_factor, cross_entropy},
    zoo::Architecture,
};
use taper_host::peak_memory;

/// A request.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    /// Writes weights for both sides. Each layer keeps the same fraction of them as in a trained network.
    Weights {
        model: String,
        sparsity: f64,
        path: PathBuf,
    },
    Open(Open),
    /// A training step. If the method updates masks only in some steps, a step without an update.
    Step,
    /// A training step with a mask update.
    Refresh,
    Eval,
    /// Computes thresholds, masks and gates, without a forward pass.
    Cut,
    /// The fraction of multiplications with kept weights.
    Multiplications,
    Memory,
    /// The bytes that the first rank sends in a step of the open session, and how often it waits. The batch is split
    /// over the ranks.
    Sent {
        ranks: usize,
    },
    Profile {
        steps: u32,
    },
    Kernel(Kernel),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    model: String,
    threads: usize,
    batch: usize,
    sparsity: f64,
    /// How the gradient of pruned weights is computed: `exact`, `{"every": n}`, `{"sampled": share}`,
    /// `{"live": margin}`.
    #[serde(default)]
    update: Update,
    /// A complete method, if not Feather with `update`.
    #[serde(default)]
    method: Option<Method>,
    weights: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Update {
    #[default]
    Exact,
    Every(u64),
    Sampled(f64),
    Live(f64),
}

/// One convolution on 128 images.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kernel {
    channels_in: usize,
    channels_out: usize,
    /// Rows and columns of the input.
    size: usize,
    /// Rows and columns of the kernel.
    kernel: usize,
    stride: usize,
    #[serde(default = "one")]
    groups: usize,
    density: f64,
    direction: Direction,
    is_sparse: bool,
    threads: usize,
    /// Number of timed passes.
    rounds: usize,
}

fn one() -> usize {
    1
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Forward,
    Input,
    Weight,
}

fn main() -> anyhow::Result<()> {
    let mut session = None;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&mut session, serde_json::from_str(&line?)?)?;
        println!("{answer}");
    }
    Ok(())
}

fn answer(session: &mut Option<Session>, request: Request) -> anyhow::Result<Value> {
    let needed = "no session is open; send an `open` request first";
    let begun = Instant::now();
    match request {
        Request::Weights { model, sparsity, path } => {
            spread_weights(&model, sparsity, &path)?;
            return Ok(json!({}));
        }
        Request::Open(open) => {
            set_threads(open.threads);
            let opened = session.insert(Session::new(&open)?);
            return Ok(json!({
                "kernels": taper::kernels::Variant::current().name(),
                "every": opened.every,
            }));
        }
        Request::Kernel(kernel) => {
            set_threads(kernel.threads);
            return kernel.time();
        }
        Request::Multiplications => {
            let share = session.as_ref().context(needed)?.multiplications()?;
            return Ok(json!({ "share": share }));
        }
        Request::Sent { ranks } => {
            let open = &session.as_ref().context(needed)?.open;
            let [bytes, waits] = sent(open, ranks)?;
            return Ok(json!({ "bytes": bytes, "waits": waits }));
        }
        Request::Memory => return Ok(json!({ "bytes": peak_memory() })),
        Request::Profile { steps } => return session.as_mut().context(needed)?.profile(steps),
        Request::Step => session.as_mut().context(needed)?.step()?,
        Request::Refresh => session.as_mut().context(needed)?.refresh()?,
        Request::Eval => session.as_mut().context(needed)?.evaluate()?,
        Request::Cut => {
            let pruner = session.as_mut().context(needed)?.pruner.as_mut();
            pruner.context("the session is dense and has no masks")?.begin_step(Step(1))?;
        }
    }
    Ok(json!({ "seconds": begun.elapsed().as_secs_f64() }))
}

/// The bytes that the first rank sends in a step, and how often it waits. The ranks are threads; they send the same
/// numbers as processes.
fn sent(open: &Open, size: usize) -> anyhow::Result<[u64; 2]> {
    let threads: Vec<_> = Threads::connected(size)
        .into_iter()
        .map(|rank| {
            let (open, ranks) = (open.clone(), Ranks::new(rank));
            std::thread::spawn(move || -> anyhow::Result<[u64; 2]> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
                pool.install(|| Session::new(&open)?.backward(&ranks))?;
                Ok([ranks.sent(), ranks.waits()])
            })
        })
        .collect();
    let sent: anyhow::Result<Vec<[u64; 2]>> = threads
        .into_iter()
        .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a rank has panicked"))?)
        .collect();
    sent?.first().copied().context("`ranks` is 0; it must be at least 1")
}

/// Sets the number of threads. A process has one thread pool, so only the first call has an effect.
fn set_threads(threads: usize) {
    let _ =
        rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
}

/// Writes normally distributed weights, scaled per layer. A global threshold then keeps the fraction of each layer that
/// `kept.json` states: 4.7 % of the multiplications of ResNet-20 remain at 98 %. Layers and networks without an entry get
/// the same fraction everywhere.
fn spread_weights(model: &str, sparsity: f64, path: &PathBuf) -> anyhow::Result<()> {
    let kept: HashMap<String, HashMap<String, HashMap<String, f64>>> =
        serde_json::from_str(include_str!("../../../benches/suites/kept.json"))?;
    let kept = kept.get(model).and_then(|of| of.get(&sparsity.to_string()));
    let model = taper::zoo::build(model, 100, 0, &Device::Cpu)?;
    let mut tensors = HashMap::new();
    for entry in model.params().entries() {
        if !matches!(entry.kind, Some(ParamKind::ConvWeight | ParamKind::LinearWeight)) {
            continue;
        }
        let mut rng = Rng::for_name(0, &entry.name);
        let n = entry.var.elem_count();
        let mut values: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
        let share = kept.and_then(|of| of.get(&entry.name)).copied().unwrap_or(1.0 - sparsity);
        let mut magnitudes: Vec<f32> = values.iter().map(|w| w.abs()).collect();
        magnitudes.sort_by(f32::total_cmp);
        let n_pruned = ((1.0 - share) * n as f64).round() as usize;
        // A dense network is scaled by its median, a sparse one by its threshold.
        let at = if sparsity == 0.0 { n / 2 } else { n_pruned.min(n - 1) };
        values.iter_mut().for_each(|w| *w *= 0.02 / magnitudes[at]);
        let values = Tensor::from_vec(values, entry.var.dims(), &Device::Cpu)?;
        tensors.insert(entry.name.clone(), values);
    }
    Ok(candle_core::safetensors::save(&tensors, path)?)
}

/// Feather with the requested computation of the gradient of pruned weights.
fn feather(model: &dyn Model, open: &Open) -> anyhow::Result<Option<Pruner>> {
    if open.sparsity == 0.0 {
        return Ok(None);
    }
    let update = match open.update {
        Update::Exact => PrunedUpdate::EveryStep,
        Update::Every(n) => PrunedUpdate::EveryNth(n),
        Update::Sampled(share) => PrunedUpdate::Sampled { share, seed: 0 },
        Update::Live(margin) => PrunedUpdate::Live { margin },
    };
    let target = Sparsity::new(open.sparsity)?;
    let ramp = Ramp::new(Curve::OneShot, Step::ZERO, Step(1), target);
    let builder = Pruner::builder(model.params().prunable(), ramp, 1 << 40);
    Ok(Some(builder.pruned_update(update).build()?))
}

struct Session {
    open: Open,
    model: Box<dyn Model>,
    pruner: Option<Pruner>,
    sgd: Sgd,
    images: Tensor,
    labels: Tensor,
    step: u64,
    /// Steps between two mask updates.
    every: u64,
    kernels: KernelContext,
}

impl Session {
    fn new(open: &Open) -> anyhow::Result<Self> {
        let device = Device::Cpu;
        let model = taper::zoo::build(&open.model, 100, 0, &device)?;
        if let Some(path) = &open.weights {
            let found = candle_core::safetensors::load(path, &device)?;
            for entry in model.params().entries() {
                if let Some(value) = found.get(&entry.name) {
                    entry.var.set(value)?;
                }
            }
        }
        let mut pruner = match open.method {
            Some(method) => method.pruner(&*model, open.sparsity)?,
            None => feather(&*model, open)?,
        };
        if let Some(pruner) = &mut pruner {
            pruner.begin_step(Step(1))?; // an evaluation before the first step is then sparse
        }
        let labels = Tensor::rand(0f32, 100.0, open.batch, &device)?.to_dtype(DType::U32)?;
        let [channels, height, width] = Architecture::find(&open.model)?.image;
        let images = Tensor::randn(0f32, 1.0, (open.batch, channels, height, width), &device)?;
        let every = open.method.map_or(1, Method::every);
        let (sgd, kernels) = (Sgd::new(0.9, 5e-4), KernelContext::default());
        let open = open.clone();
        Ok(Self { open, model, pruner, sgd, images, labels, step: 1, every, kernels })
    }

    /// Computes the gradients on this rank's part of the batch.
    fn backward(&mut self, ranks: &Ranks) -> anyhow::Result<()> {
        let gates: Gates = match &mut self.pruner {
            Some(pruner) => pruner.begin_step(Step(self.step))?,
            None => Gates::default(),
        };
        let n = self.open.batch;
        let part = ranks.images(n).context("the batch has fewer groups of images than ranks")?;
        let images = self.images.narrow(0, part.start, part.len())?;
        let labels = self.labels.narrow(0, part.start, part.len())?;
        let kernels = self.kernels.of_ranks(ranks, n);
        let pass = Pass::train(&gates).with_kernels(&kernels);
        let logits = ops::gathered(&self.model.forward(&images, &pass)?, &kernels)?;
        cross_entropy(&logits, &ops::gathered_labels(&labels, &kernels)?, 0.0)?.backward()?;
        Ok(())
    }

    /// A training step. If the method updates masks only in some steps, a step without an update.
    fn step(&mut self) -> anyhow::Result<()> {
        self.step += 1;
        if self.every > 1 && self.step.is_multiple_of(self.every) {
            self.step += 1;
        }
        self.train()
    }

    /// A training step with a mask update.
    fn refresh(&mut self) -> anyhow::Result<()> {
        self.step = (self.step + 1).next_multiple_of(self.every);
        self.train()
    }

    /// Runs step `self.step`, from the batch to the updated weights.
    fn train(&mut self) -> anyhow::Result<()> {
        let gates: Gates = match &mut self.pruner {
            Some(pruner) => pruner.begin_step(Step(self.step))?,
            None => Gates::default(),
        };
        let params = self.model.params();
        let logits =
            self.model.forward(&self.images, &Pass::train(&gates).with_kernels(&self.kernels))?;
        let loss = cross_entropy(&logits, &self.labels, 0.0)?;
        let mut grads = loss.backward()?;
        let changed = match &mut self.pruner {
            Some(pruner) => pruner.after_backward(&mut grads)?,
            None => Changed::default(),
        };
        if let Some(weights) = &changed.forgotten {
            self.sgd.forget(params, weights)?;
        }
        let factor = clip_factor(GradNorm::of(params, &grads, &[])?.all, 3.0);
        if !changed.is_skipped {
            self.sgd.step(params, &grads, factor, 1e-3)?;
        }
        ensure!(loss.to_scalar::<f32>()?.is_finite(), "the loss is not finite");
        Ok(())
    }

    fn evaluate(&mut self) -> anyhow::Result<()> {
        let gates = self.pruner.as_ref().map(Pruner::refresh).transpose()?.unwrap_or_default();
        let logits = self
            .model
            .forward(&self.images, &Pass::eval_gated(&gates).with_kernels(&self.kernels))?;
        logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        Ok(())
    }

    fn multiplications(&self) -> anyhow::Result<f64> {
        let dims = self.images.dims();
        multiplications(&*self.model, [dims[1], dims[2], dims[3]], self.pruner.as_ref())
    }

    /// Seconds per kind of work over `steps` steps, and the measured choices of kernels.
    fn profile(&mut self, steps: u32) -> anyhow::Result<Value> {
        let begun = Instant::now();
        self.kernels.start_profile();
        for _ in 0..steps {
            self.step()?;
        }
        let total = begun.elapsed().as_secs_f64();
        let works: serde_json::Map<String, Value> = self
            .kernels
            .stop_profile()
            .into_iter()
            .map(|(work, took)| (work.name().into(), took.as_secs_f64().into()))
            .collect();
        let choices: Vec<Value> = self
            .kernels
            .measured()
            .iter()
            .map(|m| {
                json!({
                    "layer": format!(
                        "{}→{} {}×{}",
                        m.shape.channels_in, m.shape.channels_out, m.shape.height, m.shape.width
                    ),
                    "direction": format!("{:?}", m.direction),
                    "density": m.density,
                    "dense_s": m.dense.as_secs_f64(),
                    "sparse_s": m.sparse.as_secs_f64(),
                })
            })
            .collect();
        Ok(json!({ "seconds": total, "works": works, "choices": choices }))
    }
}

impl Kernel {
    fn shape(&self, batch: usize) -> ConvShape {
        ConvShape {
            height: self.size,
            width: self.size,
            kernel: (self.kernel, self.kernel),
            stride: self.stride,
            padding: self.kernel / 2,
            groups: self.groups,
            ..ConvShape::linear(batch, self.channels_in, self.channels_out)
        }
    }

    /// Median seconds of one pass over 128 images. Before that, two images are compared with the scalar reference.
    fn time(&self) -> anyhow::Result<Value> {
        Prepared::new(*self, 2)?.check()?;
        let mut prepared = Prepared::new(*self, 128)?;
        prepared.run();
        let mut times: Vec<f64> = (0..self.rounds)
            .map(|_| {
                let begun = Instant::now();
                prepared.run();
                begun.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let flop = 2.0 * self.shape(128).macs_per_image() as f64 * 128.0;
        let median = times.get(times.len() / 2).context("no rounds")?;
        Ok(json!({ "seconds": median, "dense_flop": flop }))
    }
}

/// A convolution with its inputs and outputs.
struct Prepared {
    kernel: Kernel,
    conv: BlockedConv,
    plain: [Vec<f32>; 3],
    input: Vec<Lanes>,
    grad: Vec<Lanes>,
    packed: PackedWeights,
    transposed: PackedWeights,
    mask: Mask,
    out: Vec<Lanes>,
    grad_input: Vec<Lanes>,
    grad_weight: Vec<f32>,
}

impl Prepared {
    fn new(kernel: Kernel, batch: usize) -> anyhow::Result<Self> {
        let shape = kernel.shape(batch);
        ensure!(shape.out_size().is_some(), "the shape is impossible");
        let conv = BlockedConv::new(shape);
        let mut rng = Rng::from_state(7);
        let mut draw = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
        let input = draw(batch * shape.in_image());
        let grad = draw(batch * shape.out_image());
        let mut weight = draw(shape.n_weights());
        let mut rng = Rng::from_state(8);
        weight.iter_mut().filter(|_| rng.uniform() >= kernel.density).for_each(|w| *w = 0.0);
        let mut blocked =
            [vec![Lanes::ZERO; conv.input().len()], vec![Lanes::ZERO; conv.output().len()]];
        from_nchw(conv.input(), &input, &mut blocked[0]);
        from_nchw(conv.output(), &grad, &mut blocked[1]);
        let [input_lanes, grad_lanes] = blocked;
        let packing = if kernel.is_sparse { Packing::Sparse } else { Packing::Dense };
        Ok(Self {
            kernel,
            packed: conv.pack(&weight, None, packing),
            transposed: conv.pack_transposed(&weight, None, packing),
            mask: Mask::above(&weight, 0.0),
            out: grad_lanes.clone(),
            grad_input: input_lanes.clone(),
            grad_weight: weight.clone(),
            plain: [input, weight, grad],
            input: input_lanes,
            grad: grad_lanes,
            conv,
        })
    }

    fn run(&mut self) {
        let (source, grad) = (Source::Plain((&self.input).into()), GradSource::Plain(&self.grad));
        let share = BatchShare::whole(self.conv.shape().batch);
        match self.kernel.direction {
            Direction::Forward => {
                self.conv.forward(&self.packed, source, None, &mut self.out);
            }
            Direction::Input => {
                let to = InputGrad::new(&self.transposed, &mut self.grad_input, false);
                self.conv.backward(source, grad, Some(to), None, share);
            }
            Direction::Weight => {
                let at =
                    if self.kernel.is_sparse { GradAt::Masked(&self.mask) } else { GradAt::All };
                let to = WeightGrad { at, has_bias: false };
                let sums = self.conv.backward(source, grad, None, Some(to), share);
                if let Some(weight) = sums.weight {
                    (self.grad_weight, _) = weight.gradients();
                }
            }
        }
    }

    fn check(mut self) -> anyhow::Result<()> {
        self.run();
        let (shape, [input, weight, grad]) = (*self.conv.shape(), &self.plain);
        let (got, want) = match self.kernel.direction {
            Direction::Forward => {
                let (mut got, mut want) = (vec![0.0; grad.len()], vec![0.0; grad.len()]);
                to_nchw(self.conv.output(), &self.out, &mut got);
                scalar::forward(&shape, input, weight, &mut want);
                (got, want)
            }
            Direction::Input => {
                let (mut got, mut want) = (vec![0.0; input.len()], vec![0.0; input.len()]);
                to_nchw(self.conv.input(), &self.grad_input, &mut got);
                scalar::grad_input(&shape, weight, grad, &mut want);
                (got, want)
            }
            Direction::Weight => {
                let mut want = vec![0.0; weight.len()];
                scalar::grad_weight(&shape, input, grad, &mut want);
                if self.kernel.is_sparse {
                    (0..want.len()).filter(|&i| !self.mask.is_kept(i)).for_each(|i| want[i] = 0.0);
                }
                (self.grad_weight, want)
            }
        };
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            if (got - want).abs() > 1e-3 * (1.0 + want.abs()) {
                bail!("{shape:?}: value {i} is {got}, expected {want}");
            }
        }
        Ok(())
    }
}
