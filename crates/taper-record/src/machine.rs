//! What a record says of the machine that made it.

use serde::{Deserialize, Serialize};

/// A machine. What the system does not tell is left empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system with its version.
    pub os: String,
    /// Architecture of the processor, such as `x86_64`.
    pub arch: String,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Processors that the process may use.
    pub cores: Option<usize>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The accelerator that was computed on, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_before_accelerators_were_recorded_is_read() {
        let old = r#"{"os":"a","arch":"b","cpu":null,"cores":2,"memory_bytes":null}"#;
        let machine: Machine = serde_json::from_str(old).unwrap();
        assert_eq!((machine.cores, machine.gpu), (Some(2), None));
    }
}
