//! Whether a cached file is what the hub promised.
//!
//! A blob of a large file is named after its SHA-256, so the promise is kept beside the content. Any other file is held
//! to the SHA-256 that it had when it was first seen. Hashing takes a moment, so a record of digest, size and time of
//! change of each verified file stays in the repository's cache folder; a file that was changed since is hashed again.

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
    /// As promised; the SHA-256.
    Good(String),
    /// The digest differs; the text says how.
    Corrupt(String),
}

/// A file of a snapshot: its name in the cache, and where its record is.
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

    /// Checks the file against the digest in its blob's name, or else against its record.
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

    /// The SHA-256 that the file must have, if its `ETag` is one or it has been here before.
    pub(super) fn promised(&self, etag: &str) -> Option<String> {
        let is_sha256 = etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
        if is_sha256 { Some(etag.to_owned()) } else { Some(self.recorded()?.0) }
    }

    /// Records that the file has this digest. Without a record (a cache that cannot be written, say) the next start
    /// hashes again; nothing is lost.
    pub(super) fn remember(&self, digest: &str) {
        let write = || -> Option<()> {
            let state = state_of(&self.pointer).ok()?;
            std::fs::create_dir_all(self.record.parent()?).ok()?;
            // Two processes may do this at once; each writes a file of its own.
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
    format!("its SHA-256 is {found}, but {promised} was promised")
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
    fn a_file_that_is_not_named_by_its_digest_is_held_to_what_it_was() {
        // As on a file system without links: the file itself is in the snapshot.
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
        // The record of another commit says nothing of this one.
        assert_eq!(Entry::new(&pointer, repo.path(), "d", "f").promised("etag"), None);
    }
}
