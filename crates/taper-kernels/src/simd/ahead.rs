//! Memory that is asked for while something else is computed.

use super::lanes::Lanes;

/// Stretches of memory that will be read soon. Kernels ask for some of their lines at each step, so that these have arrived
/// in the second-level cache by the time that they are read. That changes no result.
#[derive(Debug, Default)]
pub(crate) struct Ahead<'a> {
    stretches: Vec<&'a [Lanes]>,
    /// Lines that a step asks for.
    each: usize,
}

impl<'a> Ahead<'a> {
    /// Asks for all of these in so many steps.
    pub(crate) fn new(stretches: Vec<&'a [Lanes]>, steps: usize) -> Self {
        let lines: usize = stretches.iter().map(|lines| lines.len()).sum();
        Self { stretches, each: lines.div_ceil(steps.max(1)) }
    }

    /// Asks for the next lines.
    #[inline(always)]
    pub(crate) fn step(&mut self) {
        let mut left = self.each;
        while left > 0 {
            let Some(stretch) = self.stretches.last_mut() else { return };
            let n = left.min(stretch.len());
            for line in &stretch[..n] {
                ask(line);
            }
            left -= n;
            *stretch = &stretch[n..];
            if stretch.is_empty() {
                self.stretches.pop();
            }
        }
    }
}

#[inline(always)]
#[allow(unused_variables, reason = "not every machine has a hint")]
fn ask(line: &Lanes) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which no place can make fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint, which no place can make fail.
    unsafe {
        let at = std::ptr::from_ref(line);
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
}
