//! Whether a cached file is what the hub promised.
//!
//! A blob of a large file is named after its SHA-256, so the promise is kept beside the content and can be checked
//! without the hub. Hashing takes a moment, so a small record of the size and time of change of a verified blob stays
//! in the repository's cache folder; a blob that was changed since is hashed again.

use crate::{DataError, FetchProgress, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Folder of the records, in the cache folder of a repository.
const RECORDS: &str = ".taper-verified";

/// What became of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Size or digest differ; the text says how.
    Corrupt(String),
}

/// Checks the file behind `pointer` (a link into `blobs`) against the digest in its blob's name. A blob that is not
/// named after a SHA-256 (small files are not) cannot be checked.
pub(super) fn verify(
    pointer: &Path,
    repo_dir: &Path,
    progress: &dyn FetchProgress,
) -> Result<Verdict> {
    let blob = blob_of(pointer)?;
    let Some(digest) = blob.file_name().and_then(|n| n.to_str()).filter(|n| is_sha256(n)) else {
        return Ok(Verdict::Good);
    };
    let record = repo_dir.join(RECORDS).join(digest);
    let state = state_of(&blob)?;
    if std::fs::read_to_string(&record).is_ok_and(|known| known == state) {
        return Ok(Verdict::Good);
    }
    progress.note(&format!("checking {}", pointer.file_name().unwrap_or_default().display()));
    let found = sha256(&blob)?;
    if !found.eq_ignore_ascii_case(digest) {
        return Ok(Verdict::Corrupt(format!("its SHA-256 is {found}, but {digest} was promised")));
    }
    // Without a record (a cache that cannot be written, say) the next start hashes again; nothing is lost.
    let _ = remember(&record, &state);
    Ok(Verdict::Good)
}

/// Removes a file from the cache: link and blob.
pub(super) fn remove(pointer: &Path) -> Result<()> {
    if let Ok(blob) = blob_of(pointer) {
        std::fs::remove_file(&blob).map_err(|e| DataError::io(&blob, e))?;
    }
    match std::fs::symlink_metadata(pointer) {
        Ok(_) => std::fs::remove_file(pointer).map_err(|e| DataError::io(pointer, e)),
        Err(_) => Ok(()),
    }
}

pub(super) fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn blob_of(pointer: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(pointer).map_err(|e| DataError::io(pointer, e))
}

fn state_of(blob: &Path) -> Result<String> {
    let meta = std::fs::metadata(blob).map_err(|e| DataError::io(blob, e))?;
    let changed =
        meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Ok(format!("{} {}\n", meta.len(), changed.as_nanos()))
}

fn remember(record: &Path, state: &str) -> std::io::Result<()> {
    if let Some(dir) = record.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Two processes may do this at once; each writes a file of its own.
    let temporary = record.with_extension(std::process::id().to_string());
    std::fs::write(&temporary, state)?;
    std::fs::rename(temporary, record)
}

fn sha256(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        Ok(crate::hex(&hash.finalize()))
    };
    read().map_err(|e| DataError::io(path, e))
}
