//! Files that are either as they were or wholly new.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Writes a file by way of a temporary one in the same folder, which is synced and then renamed.
///
/// # Errors
/// When the folder cannot be written; the old file, if any, is then untouched.
pub(crate) fn atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    together(&[(path.to_path_buf(), bytes.to_vec())])
}

/// Writes files that belong together: none is put in its place before all of them are on the disk.
///
/// # Errors
/// When a folder cannot be written; the old files are then untouched, unless it was the renaming that failed.
pub(crate) fn together(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let mut written = Vec::with_capacity(files.len());
    for (path, bytes) in files {
        let file = temporary(path, bytes);
        written.push(file.with_context(|| format!("cannot write {}", path.display()))?);
    }
    for ((path, _), file) in files.iter().zip(written) {
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A synced file beside where it is to be.
fn temporary(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".xtask-");
    // Temporary files are private by default; results are for everyone whom the umask admits.
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666))
    };
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.txt");
        atomically(&path, b"one").expect("writes");
        atomically(&path, b"two").expect("overwrites");
        assert_eq!(std::fs::read(&path).expect("reads"), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1);
    }

    #[test]
    fn names_the_file_when_it_cannot_be_written() {
        let error = atomically(Path::new("/no/such/folder/a.txt"), b"").expect_err("must fail");
        assert!(format!("{error:#}").contains("/no/such/folder/a.txt"), "{error:#}");
    }
}
