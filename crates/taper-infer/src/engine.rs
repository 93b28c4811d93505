//! The engine: a compiled network, and functions to run it.

use crate::{
    InferError, Options, Plan,
    compile::{Compiled, compile},
    plan::LayerPlan,
    workspace::Workspace,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use taper_graph::Graph;

/// A compiled network. Any number of threads may run it at the same time, each with its own [`Workspace`].
#[derive(Debug)]
pub struct Engine {
    compiled: Arc<Compiled>,
    batch: usize,
    threads: usize,
    /// Workspaces of [`run`](Self::run) that are not in use.
    free: Mutex<Vec<Workspace>>,
}

impl Engine {
    /// Compiles a graph.
    ///
    /// # Errors
    /// If the graph is not valid, the engine does not support it, or an option is outside its range.
    pub fn compile(graph: &Graph, options: &Options) -> Result<Self, InferError> {
        options.check()?;
        let compiled = Arc::new(compile(graph, options)?);
        let (batch, threads) = (options.batch, options.threads.min(options.batch));
        Ok(Self { compiled, batch, threads, free: Mutex::default() })
    }

    /// Largest number of images of a run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Threads of a full batch: the number in the options, but at most one per image.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Shape of an image.
    pub fn input_dims(&self) -> &[usize] {
        &self.compiled.input_dims
    }

    /// Shape of the result for one image.
    pub fn output_dims(&self) -> &[usize] {
        &self.compiled.output_dims
    }

    /// Memory and threads for [`run_with`](Self::run_with). Its threads end when it is dropped.
    ///
    /// # Errors
    /// If the system cannot start the threads, or has no memory for their images; see [`Options::threads`].
    pub fn workspace(&self) -> Result<Workspace, InferError> {
        Workspace::new(&self.compiled, self.batch, self.threads)
    }

    /// The results for 1 to [`batch`](Self::batch) consecutive images.
    ///
    /// # Errors
    /// If `images` is not 1 to `batch` whole images, or a new workspace cannot be created.
    pub fn run(&self, images: &[f32]) -> Result<Vec<f32>, InferError> {
        let n = self.check(images)?;
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = free().pop();
        let mut workspace = taken.map_or_else(|| self.workspace(), Ok)?;
        let mut results = vec![0.0; n * self.compiled.output_len()];
        workspace.run(images, &mut results);
        free().push(workspace);
        Ok(results)
    }

    /// Like [`run`](Self::run), without allocating. The results are written to `results`, which must have exactly their
    /// length.
    ///
    /// # Errors
    /// If `images` is not 1 to `batch` whole images, `results` has another length, or the workspace is from another
    /// engine.
    pub fn run_with(
        &self,
        workspace: &mut Workspace,
        images: &[f32],
        results: &mut [f32],
    ) -> Result<(), InferError> {
        let n = self.check(images)?;
        let needed = n * self.compiled.output_len();
        if results.len() != needed {
            let len = results.len();
            let message = format!("there is room for {len} results, but {n} images have {needed}");
            return Err(InferError::Images(message));
        }
        if !workspace.is_of(&self.compiled) {
            return Err(InferError::Workspace);
        }
        workspace.run(images, results);
        Ok(())
    }

    /// The number of images.
    fn check(&self, images: &[f32]) -> Result<usize, InferError> {
        let each = self.compiled.input_len();
        let (n, most) = (images.len(), self.batch);
        if each == 0 || n == 0 || !n.is_multiple_of(each) || n / each > most {
            let dims = &self.compiled.input_dims;
            return Err(InferError::Images(format!(
                "{n} values are not 1 to {most} images of shape {dims:?}, {each} values each"
            )));
        }
        Ok(n / each)
    }

    /// The steps of the engine.
    pub fn plan(&self) -> Plan {
        let layers =
            self.compiled.steps.iter().zip(&self.compiled.labels).map(|(step, label)| LayerPlan {
                name: label.name.clone(),
                kernel: step.kernel(),
                dims: label.dims.clone(),
                nonzeros: label.nonzeros,
                density: match label.weights {
                    0 => 1.0,
                    weights => label.nonzeros as f64 / weights as f64,
                },
                bytes: step.bytes(),
                micros: None,
            });
        Plan {
            layers: layers.collect(),
            weight_bytes: self.compiled.steps.iter().map(|s| s.bytes()).sum(),
            workspace_bytes: Workspace::bytes(&self.compiled, self.batch, self.threads),
        }
    }

    /// The plan with the time of each step for these images on one thread. It is the median of `rounds` runs, at least
    /// 1.
    ///
    /// # Errors
    /// If `images` is not 1 to `batch` whole images.
    pub fn profile(&self, images: &[f32], rounds: usize) -> Result<Plan, InferError> {
        let n = self.check(images)?;
        let each = self.compiled.input_len();
        let mut plan = self.plan();
        let mut arena = self.compiled.arena();
        let mut times = vec![Vec::new(); plan.layers.len()];
        for _ in 0..rounds.max(1) {
            let mut sums = vec![0.0; plan.layers.len()];
            for image in images.chunks(each).take(n) {
                self.compiled.load(&mut arena, image);
                for (step, sum) in self.compiled.steps.iter().zip(&mut sums) {
                    let begin = Instant::now();
                    arena.step(step, self.compiled.variant);
                    *sum += begin.elapsed().as_secs_f64() * 1e6;
                }
            }
            times.iter_mut().zip(sums).for_each(|(times, sum)| times.push(sum));
        }
        for (layer, mut times) in plan.layers.iter_mut().zip(times) {
            times.sort_by(f64::total_cmp);
            layer.micros = times.get(times.len() / 2).copied();
        }
        Ok(plan)
    }
}
