//! Values as words of a batch script.

use anyhow::{Context, Result, anyhow, ensure};
use std::path::Path;
use taper_host::Usage;

/// An absolute path as one word of a shell: a job begins in another folder.
pub(super) fn path(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)
        .with_context(|| format!("cannot tell where {} is", path.display()))?;
    let text = path.to_str().ok_or_else(|| {
        let path = path.display();
        anyhow!(Usage::new(format!("{path} is no UTF-8, and cannot stand in a batch script")))
    })?;
    Ok(shell(text))
}

/// Whether a shell and a directive take a value as it is.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=,:@+%".contains(&byte);
    !value.is_empty() && value.bytes().all(plain)
}

/// A value as one word of a shell.
pub(super) fn shell(value: &str) -> String {
    if is_plain(value) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

/// A value as one word of a directive, which has quotes of its own, and ends with its line.
pub(super) fn directive(value: &str) -> Result<String> {
    ensure!(
        !value.contains(char::is_control),
        Usage::new(format!("{value:?} cannot be an option of `sbatch`: it has more than one line"))
    );
    let escape = || value.replace('\\', r"\\").replace('"', "\\\"");
    Ok(if is_plain(value) { value.to_owned() } else { format!("\"{}\"", escape()) })
}
