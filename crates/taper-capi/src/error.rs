//! The last error of each thread.

use std::{
    cell::RefCell,
    ffi::{CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Returns the value of `call`. On an error or a panic, stores the message and returns `failed`.
pub(crate) fn guard<R>(failed: R, call: impl FnOnce() -> Result<R, String>) -> R {
    // Unwind safe: a panic can only leave the memory of a run half-written, and the next run overwrites it.
    let message = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return value,
        Ok(Err(message)) => message,
        Err(_) => "taper panicked, which is a bug; its message is on standard error".into(),
    };
    // A zero byte would end the C string.
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // Fails in a thread that is ending, because its thread-local value is gone.
    let _ = LAST.try_with(|last| last.replace(text));
    failed
}

/// See `include/taper_infer.h`.
#[unsafe(no_mangle)]
pub extern "C" fn taper_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[cfg(test)]
pub(crate) fn last() -> String {
    LAST.with(|last| last.borrow().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_stored_per_thread() {
        assert_eq!(guard(0, || Ok(7)), 7);
        assert_eq!(last(), "");
        assert_eq!(guard(-1, || Err("a\0b".into())), -1);
        assert_eq!(last(), "a b");
        std::thread::spawn(|| assert_eq!(last(), "")).join().expect("no panic");
        assert_eq!(guard(-1, || panic!("on purpose")), -1);
        assert!(last().starts_with("taper panicked"));
        // A successful call keeps the last error.
        guard(0, || Ok(0));
        assert!(last().starts_with("taper panicked"));
    }
}
