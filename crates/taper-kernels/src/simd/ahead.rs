//! Prefetches memory while something else is computed.

use super::lanes::Lanes;
use std::ops::Range;

/// An address range of vectors that will be read or written.
pub(crate) type Stretch = Range<*const Lanes>;

/// Address ranges that will be read soon. At each step a kernel prefetches some of their cache lines into the
/// second-level cache. The lines have arrived when they are read. Prefetching changes no result.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    stretches: Vec<Stretch>,
    /// Cache lines to prefetch per step.
    each: usize,
}

impl Ahead {
    /// Prefetches all of `stretches` in `steps` steps.
    pub(crate) fn new(stretches: Vec<Stretch>, steps: usize) -> Self {
        let lines: usize = stretches.iter().map(lines).sum();
        Self { stretches, each: lines.div_ceil(steps.max(1)) }
    }

    /// Prefetches the next cache lines.
    #[inline(always)]
    pub(crate) fn step(&mut self) {
        let mut left = self.each;
        while left > 0 {
            let Some(stretch) = self.stretches.last_mut() else { return };
            let n = left.min(lines(stretch));
            for line in 0..n {
                ask(stretch.start.wrapping_add(line));
            }
            left -= n;
            stretch.start = stretch.start.wrapping_add(n);
            if stretch.start == stretch.end {
                self.stretches.pop();
            }
        }
    }
}

fn lines(stretch: &Stretch) -> usize {
    (stretch.end.addr() - stretch.start.addr()) / size_of::<Lanes>()
}

/// Prefetches a line into the second-level cache. The address need not be valid.
#[inline(always)]
#[allow(unused_variables, reason = "not every architecture has a prefetch hint")]
fn ask(line: *const Lanes) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch hint cannot fail, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch hint cannot fail, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
}
