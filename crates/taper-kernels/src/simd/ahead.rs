//! Memory that is asked for while something else is computed.

use super::lanes::Lanes;
use std::ops::Range;

/// Where vectors begin and end that will be read or written.
pub(crate) type Stretch = Range<*const Lanes>;

/// Stretches of memory that will be read soon. Kernels ask for some of their lines at each step, so that these have arrived
/// in the second-level cache by the time that they are read. That changes no result.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    stretches: Vec<Stretch>,
    /// Lines that a step asks for.
    each: usize,
}

impl Ahead {
    /// Asks for all of these in so many steps.
    pub(crate) fn new(stretches: Vec<Stretch>, steps: usize) -> Self {
        let lines: usize = stretches.iter().map(lines).sum();
        Self { stretches, each: lines.div_ceil(steps.max(1)) }
    }

    /// Asks for the next lines.
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

/// Asks for a line of the second-level cache, whether there is memory or not.
#[inline(always)]
#[allow(unused_variables, reason = "not every machine has a hint")]
fn ask(line: *const Lanes) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which no place can make fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint, which no place can make fail.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
}
