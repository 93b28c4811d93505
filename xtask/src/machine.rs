//! The machine of results, as their manifests have it.

use serde::{Deserialize, Serialize};
use taper_report::host;

/// A machine. What the system does not tell is left empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Operating system with its version.
    pub(crate) os: String,
    pub(crate) arch: String,
    pub(crate) cpu: Option<String>,
    /// Processors that the process may use.
    pub(crate) cores: Option<usize>,
    pub(crate) memory_bytes: Option<u64>,
    /// The accelerator that was computed on, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gpu: Option<String>,
}

impl Machine {
    /// The machine that this program runs on, which computes nothing itself.
    pub(crate) fn here() -> Self {
        let host::Machine { os, arch, cpu, cores, memory_bytes } = host::Machine::here();
        Self { os, arch, cpu, cores, memory_bytes, gpu: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_before_accelerators_were_recorded_is_read() {
        let old = r#"{"os":"a","arch":"b","cpu":null,"cores":2,"memory_bytes":null}"#;
        let machine: Machine = serde_json::from_str(old).expect("reads");
        assert_eq!((machine.cores, machine.gpu), (Some(2), None));
    }
}
