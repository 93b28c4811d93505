//! Workspaces: memory and threads of one run at a time.

use crate::{InferError, arena::Arena, compile::Compiled};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
};

/// The memory and threads of one run at a time, from [`Engine::workspace`](crate::Engine::workspace).
#[derive(Debug)]
pub struct Workspace {
    compiled: Arc<Compiled>,
    arena: Arena,
    workers: Vec<Worker>,
}

impl Workspace {
    /// # Errors
    /// If the system cannot start a thread, or has no memory for its part of a batch. Threads started before it end.
    pub(crate) fn new(
        compiled: &Arc<Compiled>,
        batch: usize,
        threads: usize,
    ) -> Result<Self, InferError> {
        let share = batch.div_ceil(threads);
        let workers = (1..threads).map(|i| {
            Worker::new(compiled.clone(), share)
                .map_err(|refused| InferError::Threads(refused.message(i + 1, threads, share)))
        });
        let workers = workers.collect::<Result<_, _>>()?;
        Ok(Self { compiled: compiled.clone(), arena: compiled.arena(), workers })
    }

    /// Bytes of a workspace: an arena for each thread, and images and results for each thread except the caller.
    pub(crate) fn bytes(compiled: &Compiled, batch: usize, threads: usize) -> usize {
        let share = batch.div_ceil(threads);
        let each = share.saturating_mul(compiled.input_len() + compiled.output_len());
        let others = (threads - 1).saturating_mul(each).saturating_mul(size_of::<f32>());
        threads.saturating_mul(compiled.arena_bytes()).saturating_add(others)
    }

    /// Whether the workspace is for this network.
    pub(crate) fn is_of(&self, compiled: &Arc<Compiled>) -> bool {
        Arc::ptr_eq(compiled, &self.compiled)
    }

    /// Runs whole images. `results` must have the matching length.
    pub(crate) fn run(&mut self, images: &[f32], results: &mut [f32]) {
        let compiled = &self.compiled;
        let (each, out) = (compiled.input_len(), compiled.output_len());
        let n = images.len() / each;
        let share = n.div_ceil(self.workers.len() + 1);
        let mut parts = images.chunks(share * each);
        let mut result_parts = results.chunks_mut((share * out).max(1));
        let own = parts.next().zip(result_parts.next());
        // Start the other threads first, because they need a moment to wake up.
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

/// The resource that the system does not provide.
enum Refused {
    Thread(std::io::Error),
    Memory,
}

impl Refused {
    /// The message for thread `thread` (counted from 1), which would compute `images` images.
    fn message(&self, thread: usize, threads: usize, images: usize) -> String {
        match self {
            Self::Thread(error) => format!(
                "the system cannot start thread {thread} of {threads} ({error}); compile for fewer threads"
            ),
            Self::Memory => format!(
                "there is no memory for the {images} images of thread {thread} of {threads}; compile for a smaller batch"
            ),
        }
    }
}

/// A thread that computes a part of a batch.
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
    /// Both have capacity for a part of a batch.
    images: Vec<f32>,
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
    fn new(compiled: Arc<Compiled>, share: usize) -> Result<Self, Refused> {
        let room = |each: usize| {
            let mut values = Vec::new();
            let reserved = values.try_reserve_exact(share.saturating_mul(each));
            reserved.map(|()| values).map_err(|_| Refused::Memory)
        };
        let (images, results) = (room(compiled.input_len())?, room(compiled.output_len())?);
        let job = Mutex::new(Job { state: State::Idle, images, results });
        let shared = Arc::new(Shared { job, changed: Condvar::new() });
        let theirs = shared.clone();
        let thread = Builder::new().spawn(move || theirs.work(&compiled));
        let thread = thread.map_err(Refused::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn begin(&self, images: &[f32]) {
        let mut job = self.shared.lock();
        job.images.clear();
        job.images.extend_from_slice(images);
        job.state = State::Begun;
        self.shared.changed.notify_all();
    }

    fn finish(&self, results: &mut [f32]) {
        let mut job = self.shared.wait_while(|state| state == State::Begun);
        assert!(job.state == State::Done, "a thread has failed");
        results.copy_from_slice(&job.results);
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
            // After a panic the state is `Failed`, so the caller does not wait forever.
            let Job { images, results, .. } = &mut *job;
            results.resize(images.len() / compiled.input_len() * compiled.output_len(), 0.0);
            let run = || compiled.run(&mut arena, images, results);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            job.state = if outcome.is_ok() { State::Done } else { State::Failed };
            self.changed.notify_all();
        }
    }
}
