//! Describes the machine, for records of measurements.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use taper_record::Machine;

/// Describes this machine, without an accelerator: code that uses one adds it.
pub fn machine() -> Machine {
    let kinds = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kinds);
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    Machine {
        os: System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned()),
        arch: std::env::consts::ARCH.to_owned(),
        cpu: cpu.filter(|name| !name.is_empty()),
        cores: std::thread::available_parallelism().ok().map(Into::into),
        memory_bytes: Some(system.total_memory()).filter(|bytes| *bytes > 0),
        gpu: None,
    }
}

/// The host's name as part of a folder name: at most 40 lower-case letters, digits and `-`.
pub fn host() -> String {
    plain(&System::host_name().unwrap_or_default())
}

fn plain(name: &str) -> String {
    // The domain does not describe the machine, and may be private.
    let name = name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_folder_names() {
        assert_eq!(plain("Node_7.example.org\n"), "node-7");
        assert_eq!(plain("../../etc"), "unknown");
        assert_eq!(plain(""), "unknown");
        assert_eq!(plain("Ünï"), "n");
        assert_eq!(plain(&"x".repeat(99)).len(), 40);
    }

    #[test]
    fn the_machine_is_described() {
        let here = machine();
        assert!(!here.os.is_empty() && here.arch == std::env::consts::ARCH, "{here:?}");
        assert!(here.cores > Some(0) && here.memory_bytes > Some(1 << 20), "{here:?}");
        assert!(here.cpu.as_ref().is_none_or(|cpu| cpu.len() > 1), "{here:?}");
    }
}
