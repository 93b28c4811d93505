//! Memory and threads of one run at a time.

use crate::{arena::Arena, compile::Compiled};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

/// The memory and threads of one run at a time, from [`Engine::workspace`](crate::Engine::workspace).
#[derive(Debug)]
pub struct Workspace {
    compiled: Arc<Compiled>,
    arena: Arena,
    workers: Vec<Worker>,
}

impl Workspace {
    pub(crate) fn new(compiled: &Arc<Compiled>, batch: usize, threads: usize) -> Self {
        let share = batch.div_ceil(threads);
        let workers = (1..threads).map(|_| Worker::new(compiled.clone(), share)).collect();
        Self { compiled: compiled.clone(), arena: compiled.arena(), workers }
    }

    /// Bytes of a workspace: an arena for each thread, and images and results of each but the caller.
    pub(crate) fn bytes(compiled: &Compiled, batch: usize, threads: usize) -> usize {
        let each = batch.div_ceil(threads) * (compiled.input_len() + compiled.output_len());
        threads * compiled.arena_bytes() + (threads - 1) * 4 * each
    }

    /// Whether it is one for this network.
    pub(crate) fn is_of(&self, compiled: &Arc<Compiled>) -> bool {
        Arc::ptr_eq(compiled, &self.compiled)
    }

    /// Runs whole images; the results have their size.
    pub(crate) fn run(&mut self, images: &[f32], results: &mut [f32]) {
        let compiled = &self.compiled;
        let (each, out) = (compiled.input_len(), compiled.output_len());
        let n = images.len() / each;
        let share = n.div_ceil(self.workers.len() + 1);
        let mut parts = images.chunks(share * each);
        let mut result_parts = results.chunks_mut((share * out).max(1));
        let own = parts.next().zip(result_parts.next());
        // The others first, as they take a moment to begin.
        let mut at_work = 0;
        for (worker, part) in self.workers.iter().zip(parts) {
            worker.begin(part);
            at_work += 1;
        }
        if let Some((images, results)) = own {
            compiled.run(&mut self.arena, images, results);
        }
        for (worker, results) in self.workers[..at_work].iter().zip(result_parts) {
            worker.finish(results);
        }
    }
}

/// A thread that computes a share of a batch.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    job: Mutex<Job>,
    changed: Condvar,
}

#[derive(Debug)]
struct Job {
    state: State,
    images: Vec<f32>,
    n_images: usize,
    results: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Idle,
    Begun,
    Done,
    Failed,
    Over,
}

impl Worker {
    fn new(compiled: Arc<Compiled>, share: usize) -> Self {
        let job = Job {
            state: State::Idle,
            images: vec![0.0; share * compiled.input_len()],
            n_images: 0,
            results: vec![0.0; share * compiled.output_len()],
        };
        let shared = Arc::new(Shared { job: Mutex::new(job), changed: Condvar::new() });
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || theirs.work(&compiled));
        Self { shared, thread: Some(thread) }
    }

    fn begin(&self, images: &[f32]) {
        let mut job = self.shared.lock();
        job.images[..images.len()].copy_from_slice(images);
        job.n_images = images.len();
        job.state = State::Begun;
        self.shared.changed.notify_all();
    }

    fn finish(&self, results: &mut [f32]) {
        let mut job = self.shared.wait_while(|state| state == State::Begun);
        assert!(job.state == State::Done, "a thread has failed");
        results.copy_from_slice(&job.results[..results.len()]);
        job.state = State::Idle;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().state = State::Over;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, waits: impl Fn(State) -> bool) -> MutexGuard<'_, Job> {
        let job = self.lock();
        let waiting = self.changed.wait_while(job, |job| waits(job.state));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, compiled: &Compiled) {
        let mut arena = compiled.arena();
        loop {
            let mut job =
                self.wait_while(|s| matches!(s, State::Idle | State::Done | State::Failed));
            if job.state == State::Over {
                return;
            }
            // A panic leaves this state, and nobody waits for ever.
            let Job { images, n_images, results, .. } = &mut *job;
            let n = *n_images / compiled.input_len() * compiled.output_len();
            let run = || compiled.run(&mut arena, &images[..*n_images], &mut results[..n]);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            job.state = if outcome.is_ok() { State::Done } else { State::Failed };
            self.changed.notify_all();
        }
    }
}
