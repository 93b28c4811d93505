//! Runs cargo from a program that cargo started.

use std::ffi::OsStr;
use std::process::Command;

/// The user's cargo: the one that runs this program, or else the first in `PATH`.
///
/// Removes the variables in which cargo describes the package of this program. Build scripts that read them would
/// otherwise rerun whenever another program calls cargo, and all their dependents would be recompiled.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| of_a_package(name)) {
        command.env_remove(name);
    }
    command
}

fn of_a_package(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"].iter().any(|start| name.starts_with(start))
        || ["CARGO_CRATE_NAME", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"]
            .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_gets_no_variables_of_the_package_that_calls_it() {
        let command = cargo();
        let removed =
            |name: &str| command.get_envs().any(|(key, value)| key == name && value.is_none());
        assert!(
            std::env::var_os("CARGO_PKG_NAME").is_some(),
            "set by the cargo that runs this test"
        );
        assert!(removed("CARGO_PKG_NAME") && removed("CARGO_MANIFEST_DIR"));
        for setting in ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "PATH"] {
            assert!(!of_a_package(OsStr::new(setting)), "{setting} is the user's choice");
        }
    }
}
