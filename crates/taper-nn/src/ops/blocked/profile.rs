//! Time by kind of work, for those who ask.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Convolutions and linear layers, with the normalisation that they read through.
    Forward,
    /// Their gradients.
    Backward,
    /// Weights brought into the order of the kernels.
    Pack,
    /// Normalisation, rectifiers, residual additions and their gradients, where stored.
    Norm,
    /// Pooling and its gradient.
    Pool,
    /// Into the blocked layout and out of it.
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

    /// A word for tables.
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

static IS_ON: AtomicBool = AtomicBool::new(false);
static NANOS: [AtomicU64; Work::ALL.len()] = [const { AtomicU64::new(0) }; Work::ALL.len()];

/// Begins to take times, from zero.
pub fn start() {
    NANOS.iter().for_each(|nanos| nanos.store(0, Relaxed));
    IS_ON.store(true, Relaxed);
}

/// Ends taking times, and gives those taken since [`start`].
pub fn stop() -> Vec<(Work, Duration)> {
    IS_ON.store(false, Relaxed);
    Work::ALL
        .iter()
        .map(|&work| (work, Duration::from_nanos(NANOS[work as usize].load(Relaxed))))
        .collect()
}

pub(crate) fn time<R>(work: Work, f: impl FnOnce() -> R) -> R {
    if !IS_ON.load(Relaxed) {
        return f();
    }
    let begun = Instant::now();
    let result = f();
    NANOS[work as usize].fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
    result
}
