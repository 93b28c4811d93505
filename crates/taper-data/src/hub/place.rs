//! Links from a file name in the cache to its blob. A file system without links gets a copy.

use std::io::{Error, ErrorKind, Result};
use std::path::{Component, Path, PathBuf};

/// Creates or replaces the link `pointer` to `blob`. Both paths are absolute, and in the same cache folder.
pub(super) fn place(blob: &Path, pointer: &Path) -> Result<()> {
    place_by(blob, pointer, link)
}

fn place_by(blob: &Path, pointer: &Path, link: impl Fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let (Some(dir), Some(name)) = (pointer.parent(), pointer.file_name()) else {
        return Err(Error::from(ErrorKind::InvalidInput));
    };
    std::fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let _ = std::fs::remove_file(&temporary);
    if link(&relative(blob, dir), &temporary).is_err() {
        std::fs::copy(blob, &temporary)?;
    }
    std::fs::rename(&temporary, pointer)
}

/// The relative path from the folder `dir` to `target`. Relative links remain valid if the cache folder is moved.
fn relative(target: &Path, dir: &Path) -> PathBuf {
    let common = target.components().zip(dir.components()).take_while(|(a, b)| a == b).count();
    let up = dir.components().skip(common).map(|_| Component::ParentDir);
    up.chain(target.components().skip(common)).collect()
}

#[cfg(unix)]
fn link(target: &Path, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn link(target: &Path, at: &Path) -> Result<()> {
    std::os::windows::fs::symlink_file(target, at)
}

#[cfg(not(any(unix, windows)))]
fn link(_: &Path, _: &Path) -> Result<()> {
    Err(Error::from(ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_links_gets_a_copy() {
        let cache = tempfile::tempdir().unwrap();
        let (blob, pointer) = (cache.path().join("blobs/b"), cache.path().join("snapshots/c/d/f"));
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(&blob, "content").unwrap();
        let none = |_: &Path, _: &Path| Err(Error::from(ErrorKind::PermissionDenied));
        place_by(&blob, &pointer, none).unwrap();
        assert!(std::fs::symlink_metadata(&pointer).unwrap().is_file());
        assert_eq!(std::fs::read(&pointer).unwrap(), b"content");
        // An existing copy is replaced, and no other file remains.
        std::fs::write(&blob, "other").unwrap();
        place_by(&blob, &pointer, none).unwrap();
        assert_eq!(std::fs::read(&pointer).unwrap(), b"other");
        assert_eq!(std::fs::read_dir(pointer.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_remains_valid_if_the_cache_is_moved() {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("one");
        let (blob, pointer) = (cache.join("blobs/b"), cache.join("snapshots/c/d/f"));
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(&blob, "content").unwrap();
        place(&blob, &pointer).unwrap();
        assert_eq!(std::fs::read_link(&pointer).unwrap(), PathBuf::from("../../../blobs/b"));
        std::fs::rename(&cache, root.path().join("two")).unwrap();
        assert_eq!(std::fs::read(root.path().join("two/snapshots/c/d/f")).unwrap(), b"content");
    }
}
