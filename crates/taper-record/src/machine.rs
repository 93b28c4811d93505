//! The machine of a run, as records describe it.

use serde::{Deserialize, Serialize};

/// A machine. Unknown values are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system with its version.
    pub os: String,
    /// Architecture of the processor, such as `x86_64`.
    pub arch: String,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Number of CPU cores that the process may use.
    pub cores: Option<usize>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The accelerator of the run, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_without_an_accelerator_are_read() {
        let old = r#"{"os":"a","arch":"b","cpu":null,"cores":2,"memory_bytes":null}"#;
        let machine: Machine = serde_json::from_str(old).unwrap();
        assert_eq!((machine.cores, machine.gpu), (Some(2), None));
    }
}
