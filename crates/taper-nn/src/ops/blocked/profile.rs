//! A time profile by kind of work.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Convolutions and linear layers, with the batch norm and ReLU fused into their inputs.
    Forward,
    /// Their gradients.
    Backward,
    /// Packing of weights.
    Pack,
    /// Batch norm, ReLU, residual additions and their gradients, where they are not fused.
    Norm,
    /// Pooling and its gradient.
    Pool,
    /// Conversion to and from the layout of the kernels.
    Layout,
    /// The threshold operator and its gradient.
    Threshold,
}

impl Work {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Forward,
        Self::Backward,
        Self::Pack,
        Self::Norm,
        Self::Pool,
        Self::Layout,
        Self::Threshold,
    ];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Pack => "pack",
            Self::Norm => "norm",
            Self::Pool => "pool",
            Self::Layout => "layout",
            Self::Threshold => "threshold",
        }
    }
}

/// The time of each kind of work while the profile is on.
#[derive(Debug, Default)]
pub(super) struct Profile {
    is_on: AtomicBool,
    nanos: [AtomicU64; Work::ALL.len()],
}

impl Profile {
    pub(super) fn start(&self) {
        self.nanos.iter().for_each(|nanos| nanos.store(0, Relaxed));
        self.is_on.store(true, Relaxed);
    }

    pub(super) fn stop(&self) -> Vec<(Work, Duration)> {
        self.is_on.store(false, Relaxed);
        let took = |work: Work| Duration::from_nanos(self.nanos[work as usize].load(Relaxed));
        Work::ALL.iter().map(|&work| (work, took(work))).collect()
    }

    pub(super) fn time<R>(&self, work: Work, f: impl FnOnce() -> R) -> R {
        if !self.is_on.load(Relaxed) {
            return f();
        }
        let begun = Instant::now();
        let result = f();
        self.nanos[work as usize].fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        result
    }
}
