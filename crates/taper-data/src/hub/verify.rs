//! Verification of cached files.
//!
//! The blob of a large file is named after its SHA-256, and is compared with it. Any other file is compared with the
//! SHA-256 that it had after its download. Hashing takes some time. Therefore the cache folder of the repository has a
//! record for each verified file, with its digest, size and modification time. Only a file that changed since is hashed
//! again.

use crate::{DataError, FetchProgress, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Folder of the records, within the cache folder of a repository.
const RECORDS: &str = ".taper-verified";

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file has the expected digest, this SHA-256.
    Good(String),
    /// The digest differs; the text describes the difference.
    Corrupt(String),
}

/// A file of a snapshot, with its path in the cache and the path of its record.
pub(super) struct Entry {
    filename: String,
    pointer: PathBuf,
    record: PathBuf,
}

impl Entry {
    /// The file `filename` of the snapshot of `commit`.
    pub(super) fn new(pointer: &Path, repo_dir: &Path, commit: &str, filename: &str) -> Self {
        let record = repo_dir.join(RECORDS).join(commit).join(filename);
        Self { filename: filename.to_owned(), pointer: pointer.to_owned(), record }
    }

    /// Compares the file with the digest in the name of its blob, or else with its record.
    pub(super) fn verify(&self, progress: &dyn FetchProgress) -> Result<Verdict> {
        let blob =
            std::fs::canonicalize(&self.pointer).map_err(|e| DataError::io(&self.pointer, e))?;
        let state = state_of(&blob)?;
        let etag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let promised = self.promised(etag);
        if let Some((digest, _)) = self.recorded().filter(|(digest, known)| {
            *known == state && promised.as_ref().is_none_or(|p| p.eq_ignore_ascii_case(digest))
        }) {
            return Ok(Verdict::Good(digest));
        }
        progress.note(&format!("checking {}", self.filename));
        let found = sha256(&blob)?;
        match promised {
            Some(promised) if !found.eq_ignore_ascii_case(&promised) => {
                Ok(Verdict::Corrupt(mismatch(&found, &promised)))
            }
            _ => {
                self.remember(&found);
                Ok(Verdict::Good(found))
            }
        }
    }

    /// The SHA-256 that the file must have, if its `ETag` is a SHA-256, or the file has a record.
    pub(super) fn promised(&self, etag: &str) -> Option<String> {
        let is_sha256 = etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
        if is_sha256 { Some(etag.to_owned()) } else { Some(self.recorded()?.0) }
    }

    /// Records the digest of the file. If the record cannot be written, the next start hashes the file again.
    pub(super) fn remember(&self, digest: &str) {
        let write = || -> Option<()> {
            let state = state_of(&self.pointer).ok()?;
            std::fs::create_dir_all(self.record.parent()?).ok()?;
            // Two processes may do this at the same time; each writes its own temporary file.
            let temporary = self.record.with_extension(std::process::id().to_string());
            std::fs::write(&temporary, format!("{digest} {state}\n")).ok()?;
            std::fs::rename(temporary, &self.record).ok()
        };
        let _ = write();
    }

    fn recorded(&self) -> Option<(String, String)> {
        let text = std::fs::read_to_string(&self.record).ok()?;
        let (digest, state) = text.trim_end().split_once(' ')?;
        Some((digest.to_owned(), state.to_owned()))
    }
}

pub(super) fn mismatch(found: &str, promised: &str) -> String {
    format!("its SHA-256 is {found}, but should be {promised}")
}

fn state_of(path: &Path) -> Result<String> {
    let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
    let changed =
        meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Ok(format!("{} {}", meta.len(), changed.as_nanos()))
}

/// The SHA-256 of a file, in lower case.
pub(super) fn sha256(path: &Path) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_without_a_digest_in_its_name_is_compared_with_its_record() {
        // On a file system without links, the file itself is in the snapshot.
        let repo = tempfile::tempdir().unwrap();
        let pointer = repo.path().join("snapshots/c/f");
        std::fs::create_dir_all(pointer.parent().unwrap()).unwrap();
        std::fs::write(&pointer, "abc").unwrap();
        let entry = Entry::new(&pointer, repo.path(), "c", "f");
        assert_eq!(entry.promised("etag"), None);
        assert_eq!(entry.verify(&Silent).unwrap(), Verdict::Good(ABC.into()));
        assert_eq!(entry.promised("etag").as_deref(), Some(ABC));
        std::fs::write(&pointer, "abcd").unwrap();
        let Verdict::Corrupt(how) = entry.verify(&Silent).unwrap() else { panic!() };
        assert!(how.contains(ABC), "{how}");
        std::fs::write(&pointer, "abc").unwrap();
        assert_eq!(entry.verify(&Silent).unwrap(), Verdict::Good(ABC.into()));
        // The record of another commit is not used.
        assert_eq!(Entry::new(&pointer, repo.path(), "d", "f").promised("etag"), None);
    }
}
