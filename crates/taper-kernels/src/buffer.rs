//! Buffers that are reused. A step needs the same buffers as the step before, and fresh memory costs one page fault per
//! page.
//!
//! The free memory is global, as in any allocator, because buffers are dropped in places without a context. Which
//! memory a buffer gets changes no result.

use crate::lanes::Lanes;
use std::sync::{Mutex, MutexGuard};

/// A slice. When it is dropped, the next buffer of similar size reuses its memory.
#[derive(Debug)]
pub struct Buffer<T: Element = Lanes> {
    memory: Vec<T>,
    len: usize,
}

/// The element type of a buffer: [`Lanes`] or [`f32`].
pub trait Element: Copy + 'static {
    #[doc(hidden)]
    const ZERO: Self;
    /// Memory that is free for reuse.
    #[doc(hidden)]
    fn free() -> MutexGuard<'static, Vec<Vec<Self>>>;
}

macro_rules! element {
    ($element:ty, $zero:expr) => {
        impl Element for $element {
            const ZERO: Self = $zero;

            fn free() -> MutexGuard<'static, Vec<Vec<Self>>> {
                static FREE: Mutex<Vec<Vec<$element>>> = Mutex::new(Vec::new());
                FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
            }
        }
    };
}

element!(Lanes, Lanes::ZERO);
element!(f32, 0.0);

impl<T: Element> Buffer<T> {
    /// A buffer of `len` elements with arbitrary content.
    pub fn any(len: usize) -> Self {
        let mut free = T::free();
        // The smallest one that is large enough, if at most half of it is wasted.
        let found = (0..free.len())
            .filter(|&i| (len..=2 * len).contains(&free[i].len()))
            .min_by_key(|&i| free[i].len());
        let memory = found.map(|i| free.swap_remove(i));
        drop(free);
        Self { memory: memory.unwrap_or_else(|| vec![T::ZERO; len]), len }
    }

    /// A buffer with a copy of `elements`.
    pub fn copy_of(elements: &[T]) -> Self {
        let mut copy = Self::any(elements.len());
        copy.copy_from_slice(elements);
        copy
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if !memory.is_empty() {
            T::free().push(memory);
        }
    }
}

impl<T: Element> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T: Element> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}

/// Returns free memory to the system.
pub fn release() {
    Lanes::free().clear();
    f32::free().clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_serves_buffers_of_its_size_or_a_little_less() {
        // Unusual sizes, which no other test uses.
        let first = Buffer::<Lanes>::any(1013);
        let place = first.as_ptr();
        drop(first);
        let smaller = Buffer::<Lanes>::any(999);
        assert_eq!((smaller.as_ptr(), smaller.len()), (place, 999));
        assert_ne!(Buffer::<Lanes>::any(999).as_ptr(), place, "in use");
        drop(smaller);
        assert_ne!(Buffer::<Lanes>::any(301).as_ptr(), place, "would waste more than half");
    }
}
