//! Memory of this process.

/// The most memory that this process has had, in bytes, where the system says.
#[cfg(unix)]
pub fn peak_memory() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Apple's systems count bytes, others kibibytes.
    Some(if cfg!(target_vendor = "apple") { peak } else { peak * 1024 })
}

/// The most memory that this process has had, in bytes, where the system says.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_grows_with_what_is_touched() {
        let before = peak_memory().expect("Unix says it");
        let touched = vec![1u8; (before as usize) + (64 << 20)];
        let after = peak_memory().expect("Unix says it");
        assert!(after >= touched.len() as u64, "{before} {after}");
    }
}
