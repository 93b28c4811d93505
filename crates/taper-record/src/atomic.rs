//! Atomic writes: a file is either the old or the new one, never a part.

use crate::RecordError;
use std::{
    fs::File,
    io::{Result, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Prefix of the names of temporary files; files of other programs have other names.
const TEMPORARY: &str = ".taper-partial-";

/// Deletes the temporary files that killed runs have left in `folder`. No other process may be writing to the folder.
/// Files that cannot be deleted are ignored.
pub fn remove_partial_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Replaces `path` by the output of `write`. The output goes to a temporary file in the same folder, which is synced
/// and then renamed.
///
/// # Errors
/// If the folder cannot be written, or `write` fails. The old file then remains.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let file = written_beside(path, write)?;
    put(file, path)
}

/// Replaces a file by these bytes, atomically.
///
/// # Errors
/// [`RecordError::Io`] if the folder cannot be written. The old file then remains.
pub fn write_file(path: &Path, bytes: &[u8]) -> std::result::Result<(), RecordError> {
    write_atomically(path, |file| file.write_all(bytes)).map_err(RecordError::io("write", path))
}

/// Replaces files that belong together. Renaming begins only when all new files are on the disk.
///
/// # Errors
/// The first file that cannot be written. All old files then remain, unless renaming failed.
pub fn write_together(files: &[(PathBuf, Vec<u8>)]) -> std::result::Result<(), RecordError> {
    let mut written = Vec::with_capacity(files.len());
    for (path, bytes) in files {
        let file = written_beside(path, |file| file.write_all(bytes));
        written.push(file.map_err(RecordError::io("write", path))?);
    }
    for ((path, _), file) in files.iter().zip(written) {
        put(file, path).map_err(RecordError::io("write", path))?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A synced temporary file in the folder of `path`, with the output of `write`.
fn written_beside(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        // The umask of the user reduces these permissions, as for other files.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder_of(path))?;
    let mut buffered = std::io::BufWriter::with_capacity(1 << 16, file);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Renames the temporary file to its final name.
fn put(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path).map_err(|e| e.error)?;
    // Sync the folder, so the rename survives a power failure. Not every system can open folders.
    if let Ok(folder) = File::open(folder_of(path)) {
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

    #[test]
    fn files_that_belong_together_are_replaced_together() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let write = |b: &Path, text: &[u8]| {
            write_together(&[(a.clone(), text.into()), (b.into(), text.into())])
        };
        write(&b, b"old").expect("writes");
        let missing = folder.path().join("none/b");
        let error = write(&missing, b"new").expect_err("there is no such folder").to_string();
        assert!(error.contains("cannot write") && error.contains("none"), "{error}");
        assert_eq!((std::fs::read(&a)?, std::fs::read(&b)?), (b"old".into(), b"old".into()));
        write(&b, b"new").expect("writes");
        assert_eq!((std::fs::read(&a)?, std::fs::read(&b)?), (b"new".into(), b"new".into()));
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 2, "and leaves no other");
        Ok(())
    }
}
