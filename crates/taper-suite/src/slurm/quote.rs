//! Quotes values for batch scripts.

use anyhow::{Context, Result, anyhow, ensure};
use std::path::Path;
use taper_host::Usage;

/// An absolute path as one word of a shell, because a job begins in another folder.
pub(super) fn path(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)
        .with_context(|| format!("cannot make the path {} absolute", path.display()))?;
    let text = path.to_str().ok_or_else(|| {
        let path = path.display();
        anyhow!(Usage::new(format!("{path} is not UTF-8, so it cannot be in a batch script")))
    })?;
    Ok(shell(text))
}

/// Whether a shell and a directive accept a value without quotes.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=,:@+%".contains(&byte);
    !value.is_empty() && value.bytes().all(plain)
}

/// A value as one word of a shell.
pub(super) fn shell(value: &str) -> String {
    if is_plain(value) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

/// A value as one word of a directive, which has other quotes than a shell and ends with its line.
pub(super) fn directive(value: &str) -> Result<String> {
    ensure!(
        !value.contains(char::is_control),
        Usage::new(format!("{value:?} cannot be an option of `sbatch`: it has more than one line"))
    );
    let escape = || value.replace('\\', r"\\").replace('"', "\\\"");
    Ok(if is_plain(value) { value.to_owned() } else { format!("\"{}\"", escape()) })
}
