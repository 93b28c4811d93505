//! Files that are either the old or the new, never half of one.

use std::{
    fs::File,
    io::{Result, Write},
    path::Path,
};

/// Begin of the names of temporary files; nobody else's begin so.
const TEMPORARY: &str = ".taper-partial-";

/// Deletes the temporary files that killed runs have left in `folder`. Nobody else may be writing there. A failure to
/// delete one harms nothing.
pub fn remove_partial_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Replaces `path` by what `write` writes: a temporary file in the same folder, synced, then renamed.
///
/// # Errors
/// If the folder cannot be written, or `write` fails; `path` is then as it was.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        // What a user's umask leaves of this is what other files of theirs have, too.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder)?;
    let mut buffered = std::io::BufWriter::with_capacity(1 << 16, file);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The rename itself must survive a power cut; folders cannot be opened on every system.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        write_atomically(&path, |f| f.write_all(b"old"))?;
        let failed = write_atomically(&path, |f| {
            f.write_all(b"new")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path)?, b"old");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        std::fs::write(folder.path().join(".taper-partial-killed"), b"half")?;
        remove_partial_files(folder.path());
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        std::fs::write(folder.path().join(".partial-download"), b"somebody else's")?;
        remove_partial_files(folder.path());
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 2);
        write_atomically(&path, |f| f.write_all(b"new"))?;
        assert_eq!(std::fs::read(&path)?, b"new");
        Ok(())
    }
}
