//! Taper's side of `cargo xtask bench`: does what it is asked, and says how long it took.
//!
//! Reads requests as lines of JSON, answers each by one. Its peer in PyTorch, `benches/peers/step.py`, takes the same.

use anyhow::{Context, bail};
use candle_core::{D, DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{io::BufRead, time::Instant};
use taper::{
    core::{Sparsity, Step},
    nn::{Gates, Model, Pass, ops::profile},
    prune::{PrunedUpdate, Pruner},
    schedule::{Curve, Ramp},
    train::{Sgd, clip_factor, cross_entropy, global_norm},
};

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Open(Open),
    Step,
    Eval,
    Cut,
    Memory,
    Profile { steps: u32 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    model: String,
    threads: usize,
    batch: usize,
    sparsity: f64,
    #[serde(default)]
    update: Update,
    weights: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Update {
    #[default]
    Exact,
    Nth(u64),
    Sampled(f64),
    Live(f64),
}

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`; a test run of all targets passes nothing to read.
    let mut session = None;
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&mut session, serde_json::from_str(&line?)?)?;
        println!("{answer}");
    }
    Ok(())
}

fn answer(session: &mut Option<Session>, request: Request) -> anyhow::Result<Value> {
    if let Request::Open(open) = request {
        if session.is_none() {
            rayon::ThreadPoolBuilder::new().num_threads(open.threads).build_global()?;
        }
        *session = Some(Session::new(&open)?);
        return Ok(json!({ "kernels": taper::kernels::Variant::current().name() }));
    }
    let session = session.as_mut().context("nothing is open")?;
    let begun = Instant::now();
    match request {
        Request::Open(_) => bail!("handled above"),
        Request::Step => session.step()?,
        Request::Eval => session.evaluate()?,
        Request::Cut => {
            session.pruner.as_mut().context("nothing to cut")?.begin_step(Step(1))?;
        }
        Request::Memory => return Ok(json!({ "bytes": peak_memory()? })),
        Request::Profile { steps } => {
            profile::start();
            for _ in 0..steps {
                session.step()?;
            }
            let total = begun.elapsed().as_secs_f64();
            let works: serde_json::Map<String, Value> = profile::stop()
                .into_iter()
                .map(|(work, took)| (work.name().into(), (took.as_secs_f64()).into()))
                .collect();
            return Ok(json!({ "seconds": total, "works": works }));
        }
    }
    Ok(json!({ "seconds": begun.elapsed().as_secs_f64() }))
}

struct Session {
    model: Box<dyn Model>,
    pruner: Option<Pruner>,
    sgd: Sgd,
    images: Tensor,
    labels: Tensor,
    step: u64,
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
        let update = match open.update {
            Update::Exact => PrunedUpdate::EveryStep,
            Update::Nth(n) => PrunedUpdate::EveryNth(n),
            Update::Sampled(share) => PrunedUpdate::Sampled { share, seed: 0 },
            Update::Live(margin) => PrunedUpdate::Live { margin },
        };
        let pruner = (open.sparsity > 0.0)
            .then(|| {
                let target = Sparsity::new(open.sparsity)?;
                let ramp = Ramp::new(Curve::OneShot, Step::ZERO, Step(1), target);
                anyhow::Ok(
                    Pruner::builder(model.params().prunable(), ramp, 1 << 40)
                        .pruned_update(update)
                        .build()?,
                )
            })
            .transpose()?;
        Ok(Self {
            model,
            pruner,
            sgd: Sgd::new(0.9, 5e-4),
            images: Tensor::randn(0f32, 1.0, (open.batch, 3, 32, 32), &device)?,
            labels: Tensor::rand(0f32, 100.0, open.batch, &device)?.to_dtype(DType::U32)?,
            step: 1,
        })
    }

    fn step(&mut self) -> anyhow::Result<()> {
        self.step += 1;
        let gates: Gates = match &mut self.pruner {
            Some(pruner) => pruner.begin_step(Step(self.step))?,
            None => Gates::default(),
        };
        let params = self.model.params();
        let logits = self.model.forward(&self.images, &Pass::train(&gates))?;
        let loss = cross_entropy(&logits, &self.labels, 0.0)?;
        let grads = loss.backward()?;
        let factor = clip_factor(global_norm(params, &grads)?, 3.0);
        self.sgd.step(params, &grads, factor, 1e-3)?;
        loss.to_scalar::<f32>()?;
        Ok(())
    }

    fn evaluate(&mut self) -> anyhow::Result<()> {
        let gates = self.pruner.as_ref().map(|p| p.refresh()).transpose()?.unwrap_or_default();
        let logits = self.model.forward(&self.images, &Pass::eval_gated(&gates))?;
        logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        Ok(())
    }
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
