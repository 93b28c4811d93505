//! What a result needs to be one: the machine, the commit, the versions.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine that made the runs. What cannot be found out is left empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) os: String,
    pub(crate) arch: String,
    pub(crate) cpu: Option<String>,
    /// Processors this process may use.
    pub(crate) cores: Option<usize>,
    pub(crate) memory_bytes: Option<u64>,
}

impl Machine {
    /// Describes the machine this program runs on.
    pub(crate) fn here() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            os: field(
                &std::fs::read_to_string("/etc/os-release").unwrap_or_default(),
                "PRETTY_NAME",
                '=',
            )
            .unwrap_or_else(|| std::env::consts::OS.to_owned()),
            arch: std::env::consts::ARCH.to_owned(),
            cpu: field(&cpuinfo, "model name", ':')
                .or_else(|| output(Path::new("."), "sysctl", &["-n", "machdep.cpu.brand_string"])),
            cores: std::thread::available_parallelism().ok().map(Into::into),
            memory_bytes: memory(&meminfo).or_else(|| {
                output(Path::new("."), "sysctl", &["-n", "hw.memsize"])
                    .and_then(|text| text.parse().ok())
            }),
        }
    }
}

/// The value of the first line `name<separator> value`, without quotes.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

/// Bytes from `/proc/meminfo`, which counts in kibibytes.
fn memory(meminfo: &str) -> Option<u64> {
    let total = field(meminfo, "MemTotal", ':')?;
    total.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The host's name as part of a folder name: lower case letters, digits and `-`.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| output(Path::new("."), "hostname", &[]))
        .or_else(|| std::env::var("COMPUTERNAME").ok());
    sanitised(&name.unwrap_or_default())
}

fn sanitised(name: &str) -> String {
    // The domain says nothing about the machine, and is nobody's business.
    let name = name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

/// The commit checked out, if the folder is a git work tree.
pub(crate) fn commit(root: &Path) -> Option<String> {
    output(root, "git", &["rev-parse", "HEAD"])
}

/// Whether files differ from the commit. Results do not count: they are what we are about to write.
pub(crate) fn dirty(root: &Path) -> bool {
    output(root, "git", &["status", "--porcelain", "--", ".", ":!results"]).is_some()
}

/// `rustc 1.95.0 (...)`.
pub(crate) fn rustc() -> Option<String> {
    output(Path::new("."), "rustc", &["--version"])
}

/// What a program prints, trimmed; `None` if it cannot be run, fails or prints nothing.
fn output(folder: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(folder).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_folder_names() {
        assert_eq!(sanitised("Node_7.example.org\n"), "node-7");
        assert_eq!(sanitised("../../etc"), "unknown");
        assert_eq!(sanitised(""), "unknown");
        assert_eq!(sanitised("Ünï"), "n");
        assert_eq!(sanitised(&"x".repeat(99)).len(), 40);
    }

    #[test]
    fn reads_what_linux_says_of_itself() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Example CPU @ 2.00GHz\n";
        assert_eq!(field(cpuinfo, "model name", ':').as_deref(), Some("Example CPU @ 2.00GHz"));
        assert_eq!(memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(memory("MemFree: 1 kB\n"), None);
        assert_eq!(
            field("PRETTY_NAME=\"Some OS 1\"\n", "PRETTY_NAME", '=').as_deref(),
            Some("Some OS 1")
        );
    }
}
