//! Memory use of this process.

/// The peak memory of this process in bytes, if the system reports it.
#[cfg(unix)]
pub fn peak_memory() -> Option<u64> {
    of_program().or_else(of_process)
}

/// The peak of the program, from `/proc`. The peak of the process is larger if a large program has started it: it
/// includes the memory that the process had before this program.
#[cfg(unix)]
fn of_program() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The peak of the process.
#[cfg(unix)]
fn of_process() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Apple's systems count bytes, others kibibytes.
    Some(if cfg!(target_vendor = "apple") { peak } else { peak * 1024 })
}

/// The peak memory of this process in bytes, if the system reports it.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_grows_with_touched_memory() {
        let before = peak_memory().expect("Unix reports it");
        let touched = vec![1u8; (before as usize) + (64 << 20)];
        let after = peak_memory().expect("Unix reports it");
        assert!(after >= touched.len() as u64, "{before} {after}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_the_peak_of_the_program() {
        let (program, process) = (of_program().unwrap(), of_process().unwrap());
        // The kernel counts pages in batches.
        assert!(0 < program && program <= process + (4 << 20), "{program} {process}");
    }
}
