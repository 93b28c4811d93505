//! Buffers that are used again: a step asks for the same ones as the step before, and fresh memory costs a page fault
//! for each of its pages.

use std::sync::Mutex;
use taper_kernels::lanes::Lanes;

/// Pixels of an activation or its gradient. Its memory serves the next buffer of about its size when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    pixels: Vec<Lanes>,
    len: usize,
}

/// Memory that nothing uses now.
static FREE: Mutex<Vec<Vec<Lanes>>> = Mutex::new(Vec::new());

impl Buffer {
    /// A buffer of `len` pixels with anything in it.
    pub(super) fn any(len: usize) -> Self {
        let mut free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // The smallest that is large enough, if that wastes at most half.
        let found = (0..free.len())
            .filter(|&i| (len..=2 * len).contains(&free[i].len()))
            .min_by_key(|&i| free[i].len());
        let pixels = found.map(|i| free.swap_remove(i));
        drop(free);
        Self { pixels: pixels.unwrap_or_else(|| vec![Lanes::ZERO; len]), len }
    }

    pub(super) fn copy_of(pixels: &[Lanes]) -> Self {
        let mut copy = Self::any(pixels.len());
        copy.copy_from_slice(pixels);
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pixels = std::mem::take(&mut self.pixels);
        if !pixels.is_empty() {
            FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(pixels);
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [Lanes];

    fn deref(&self) -> &[Lanes] {
        &self.pixels[..self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        &mut self.pixels[..self.len]
    }
}

/// Gives memory that no buffer uses back to the system.
pub(super) fn release() {
    FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_serves_buffers_of_its_size_or_a_little_less() {
        // Odd sizes, which no other test uses.
        let first = Buffer::any(1013);
        let place = first.as_ptr();
        drop(first);
        let smaller = Buffer::any(999);
        assert_eq!((smaller.as_ptr(), smaller.len()), (place, 999));
        assert_ne!(Buffer::any(999).as_ptr(), place, "in use");
        drop(smaller);
        assert_ne!(Buffer::any(301).as_ptr(), place, "would waste more than half");
    }
}
