//! The memory of one image.

use crate::{memory::ALIGNMENT, step::Step};
use taper_kernels::Variant;

/// The memory of one image: the planes of all values, and scratch memory for steps.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: Vec<f32>,
    begin: usize,
    len: usize,
    scratch: Vec<f32>,
}

impl Arena {
    /// Zeros, aligned to a cache line.
    pub(crate) fn new(len: usize, scratch: usize) -> Self {
        let memory = vec![0.0; len + ALIGNMENT];
        let begin = memory.as_ptr().align_offset(4 * ALIGNMENT).min(ALIGNMENT);
        Self { memory, begin, len, scratch: vec![0.0; scratch] }
    }

    /// Bytes of an arena.
    pub(crate) fn bytes(len: usize, scratch: usize) -> usize {
        4 * (len + ALIGNMENT + scratch)
    }

    pub(crate) fn floats(&mut self) -> &mut [f32] {
        &mut self.memory[self.begin..self.begin + self.len]
    }

    /// Runs a step.
    pub(crate) fn step(&mut self, step: &Step, variant: Variant) {
        let floats = &mut self.memory[self.begin..self.begin + self.len];
        step.run(variant, floats, &mut self.scratch);
    }
}
