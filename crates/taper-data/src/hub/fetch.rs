//! Fetching one file: from the cache, or by a transfer with retries. The file is verified.

use super::client::{Client, Promise};
use super::failure::{CHECK_CACHE, CHECK_NETWORK, Failure, without_user};
use super::place::place;
use super::verify::{Entry, Verdict, mismatch, sha256};
use super::{HubOptions, MAIN, split_revision};
use crate::{DataError, FetchProgress, Result};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

/// The longest pause between two retries.
const LONGEST_BACKOFF: std::time::Duration = std::time::Duration::from_secs(30);

/// A verified file of the hub, in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its name in the repository.
    pub filename: String,
    /// Its path in the cache.
    pub path: PathBuf,
    /// Its commit.
    pub commit: String,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

/// Returns `filename` of the data set repository `repo` from the cache, or downloads it. `repo` is `owner/name` or
/// `owner/name@revision`; a revision is a branch, a tag or a commit. A cached file causes no request.
///
/// - An interrupted transfer is resumed.
/// - After a pause, the request is retried if the hub is overloaded (429, 5xx), sends no data within the time-outs, or
///   redirects more than ten times, or if the connection is interrupted.
/// - A file with an unexpected size or SHA-256 is downloaded once more.
/// - A damaged file in the cache remains until a new file replaces it.
///
/// # Errors
/// - [`DataError::Fetch`] with address, cause and remedy, if retries have not helped or cannot help.
/// - [`DataError::Io`] if the cache cannot be read.
/// - [`DataError::Invalid`] if a name is invalid: it could refer to a path outside the cache.
pub fn fetch_file(
    repo: &str,
    filename: &str,
    options: &HubOptions,
    progress: &dyn FetchProgress,
) -> Result<Fetched> {
    Fetch::new(repo, filename, options, progress)?.run()
}

struct Fetch<'a> {
    filename: &'a str,
    revision: &'a str,
    url: String,
    options: &'a HubOptions,
    progress: &'a dyn FetchProgress,
    client: Client<'a>,
    cached: CacheRepo,
    repo_dir: PathBuf,
}

impl<'a> Fetch<'a> {
    fn new(
        repo: &'a str,
        filename: &'a str,
        options: &'a HubOptions,
        progress: &'a dyn FetchProgress,
    ) -> Result<Self> {
        let (repo, revision) = split_revision(repo);
        let revision = revision.unwrap_or(MAIN);
        for (what, name) in [("repository", repo), ("revision", revision), ("file", filename)] {
            check_name(what, name)?;
        }
        // Absolute, because relative links are computed from two absolute paths.
        let dir = std::path::absolute(&options.cache_dir)
            .map_err(|e| DataError::io(&options.cache_dir, e))?;
        let repo = Repo::with_revision(repo.to_owned(), RepoType::Dataset, revision.to_owned());
        let repo_dir = dir.join(repo.folder_name());
        let url = format!(
            "{}/{}/resolve/{}/{filename}",
            options.endpoint,
            repo.url(),
            repo.url_revision()
        );
        Ok(Self {
            filename,
            revision,
            url,
            options,
            progress,
            client: Client::new(options, revision),
            cached: Cache::new(dir).repo(repo),
            repo_dir,
        })
    }

    fn run(&self) -> Result<Fetched> {
        let mut damage = None;
        if let Some((path, commit)) = self.find() {
            match self.entry(&path, &commit).verify(self.progress)? {
                Verdict::Good(sha256) => return Ok(self.fetched(path, commit, sha256)),
                Verdict::Corrupt(how) => damage = Some(how),
            }
        }
        if self.options.offline {
            let cause = match damage {
                Some(how) => format!("the cached file is corrupt ({how})"),
                None => "it is not cached".into(),
            };
            return Err(self.error(
                format!("{cause}, and HF_HUB_OFFLINE forbids requests"),
                "unset HF_HUB_OFFLINE, or give a folder with the files",
            ));
        }
        if let Some(how) = damage {
            self.say(&format!("the cached file is corrupt ({how}); fetching it again"));
        }
        self.fetch()
    }

    /// Repeats attempts until one succeeds, or a retry cannot help.
    fn fetch(&self) -> Result<Fetched> {
        let (mut n_failed, mut was_corrupt) = (0, false);
        loop {
            match self.attempt() {
                Ok(fetched) => return Ok(fetched),
                Err(Failure::Final { cause, remedy, os_error }) => {
                    let source = os_error.map(std::io::Error::from_raw_os_error);
                    return Err(self.error_of(cause, &remedy, source));
                }
                Err(Failure::Corrupt(how)) if was_corrupt => {
                    return Err(self.error(
                        format!("the file was corrupt twice: {how}"),
                        "try again later or from another HF_ENDPOINT",
                    ));
                }
                Err(Failure::Corrupt(how)) => {
                    was_corrupt = true;
                    self.say(&format!("the received file is corrupt ({how}); fetching it again"));
                }
                Err(Failure::Again { cause, .. }) if n_failed >= self.options.retries => {
                    return Err(self
                        .error(format!("{cause} (tried {} times)", n_failed + 1), CHECK_NETWORK));
                }
                Err(Failure::Again { cause, wait }) => {
                    let backoff = self
                        .options
                        .backoff
                        .saturating_mul(1 << n_failed.min(16))
                        .min(LONGEST_BACKOFF);
                    let (wait, why) = wait.map_or((backoff, ""), |w| (w, ", as the hub requests"));
                    n_failed += 1;
                    self.say(&format!("{cause}; trying again in {wait:?}{why}"));
                    std::thread::sleep(wait);
                }
            }
        }
    }

    /// One attempt to transfer the file into the cache.
    fn attempt(&self) -> Result<Fetched, Failure> {
        let promise = self.client.ask(&self.url)?;
        if is_commit(self.revision) && promise.commit != self.revision {
            return Err(Failure::give_up(
                format!("the hub returned commit {}", promise.commit),
                CHECK_NETWORK,
            ));
        }
        let path = self.cached.pointer_path(&promise.commit).join(self.filename);
        let entry = self.entry(&path, &promise.commit);
        let promised = entry.promised(&promise.etag);
        let blob = self.cached.blob_path(&promise.etag);
        let _lock = self.lock(&blob)?;
        // The blob may exist already: from another commit with the same content, or from another process.
        let sha256 = match &promised {
            Some(promised) if blob.exists() && self.hash(&blob)? == *promised => promised.clone(),
            _ => self.transfer(&promise, &blob, promised.as_deref())?,
        };
        place(&blob, &path).map_err(|e| Failure::of_file(e, &path))?;
        entry.remember(&sha256);
        if !is_commit(self.revision) {
            let made = self.cached.create_ref(&promise.commit);
            made.map_err(|e| Failure::of_file(e, &self.repo_dir))?;
        }
        Ok(self.fetched(path, promise.commit, sha256))
    }

    /// Transfers the content to `blob` and returns its SHA-256.
    fn transfer(
        &self,
        promise: &Promise,
        blob: &Path,
        promised: Option<&str>,
    ) -> Result<String, Failure> {
        let part = blob.with_extension("part");
        let on_part = |e| Failure::of_file(e, &part);
        // A partial file that is at least as long as the whole file cannot be resumed.
        let held = std::fs::metadata(&part).map_or(0, |meta| meta.len());
        let transfer =
            self.client.transfer(&self.url, if held < promise.size { held } else { 0 })?;
        let corrupt = |how: String| match std::fs::remove_file(&part) {
            Err(e) if e.kind() != ErrorKind::NotFound => on_part(e),
            _ => Failure::Corrupt(how),
        };
        let size = |n: u64| format!("it has {n} bytes, but should have {}", promise.size);
        if let Some(total) = transfer.total.filter(|&total| total != promise.size) {
            return Err(corrupt(size(total)));
        }
        if transfer.start > held {
            return Err(Failure::again("the hub sent bytes outside the requested range"));
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&part).map_err(on_part)?;
        let mut found = transfer.start;
        file.set_len(found).map_err(on_part)?;
        self.progress.start(self.filename, promise.size);
        self.progress.advance(found);
        // One byte more than announced is enough to detect a file that is too long.
        let mut body =
            transfer.body.into_reader().take(promise.size.saturating_sub(found).saturating_add(1));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => return Err(Failure::of_body(e, self.options.download_timeout)),
            };
            file.write_all(&buffer[..n]).map_err(on_part)?;
            found += n as u64;
            self.progress.advance(n as u64);
        }
        self.progress.finish();
        if found < promise.size {
            return Err(Failure::again(format!("the connection was interrupted: {}", size(found))));
        }
        if found > promise.size {
            return Err(corrupt(size(found)));
        }
        file.sync_all().map_err(on_part)?;
        let found = self.hash(&part)?;
        if let Some(promised) = promised.filter(|p| !p.eq_ignore_ascii_case(&found)) {
            return Err(corrupt(mismatch(&found, promised)));
        }
        std::fs::rename(&part, blob).map_err(|e| Failure::of_file(e, blob))?;
        Ok(found)
    }

    /// The file in the cache, and its commit.
    fn find(&self) -> Option<(PathBuf, String)> {
        let path = self.cached.get(self.filename).or_else(|| {
            let path = self.cached.pointer_path(self.revision).join(self.filename);
            Some(path).filter(|path| is_commit(self.revision) && path.exists())
        })?;
        let snapshot = path.ancestors().nth(Path::new(self.filename).components().count())?;
        let commit = snapshot.file_name()?.to_str()?.to_owned();
        Some((path, commit))
    }

    fn entry(&self, path: &Path, commit: &str) -> Entry {
        Entry::new(path, &self.repo_dir, commit, self.filename)
    }

    fn fetched(&self, path: PathBuf, commit: String, sha256: String) -> Fetched {
        Fetched { filename: self.filename.to_owned(), path, commit, sha256 }
    }

    fn hash(&self, file: &Path) -> Result<String, Failure> {
        self.progress.note(&format!("checking {}", self.filename));
        sha256(file).map_err(|e| Failure::give_up(e.to_string(), CHECK_CACHE))
    }

    /// Locks the blob against other processes, as `hf-hub` does.
    fn lock(&self, blob: &Path) -> Result<File, Failure> {
        let path = blob.with_extension("lock");
        let on_lock = |e| Failure::of_file(e, &path);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(on_lock)?;
        }
        let file = File::create(&path).map_err(on_lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.say("another process is fetching it; waiting");
                file.lock().map_err(on_lock)?;
            }
            // On a file system without locks, no lock is taken. Its error differs from system to system.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(file)
    }

    fn say(&self, text: &str) {
        self.progress.note(&format!("{}: {}", self.filename, without_user(text)));
    }

    fn error(&self, cause: String, remedy: &str) -> DataError {
        self.error_of(cause, remedy, None)
    }

    fn error_of(&self, cause: String, remedy: &str, source: Option<std::io::Error>) -> DataError {
        let (url, cause) = (without_user(&self.url), without_user(&cause));
        DataError::Fetch { url, cause, remedy: remedy.to_owned(), source }
    }
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Checks a name that becomes part of paths and addresses.
fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    let parts = Path::new(name).components();
    let is_inside = !name.is_empty()
        && name.chars().all(plain)
        && parts.clone().all(|part| matches!(part, Component::Normal(_)));
    if is_inside {
        return Ok(());
    }
    Err(DataError::Invalid(format!(
        "`{name}` is not a valid {what} name on the hub; use letters, digits and -_.+/ without `..`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_refer_to_paths_outside_the_cache() {
        for name in ["main", "v1.0", "refs/pr/3", "a/b-c_d.parquet"] {
            assert!(check_name("file", name).is_ok(), "{name}");
        }
        for name in ["", "..", "a/../b", "/etc", "a b", "a?b", "a\\b", "ä"] {
            assert!(check_name("file", name).is_err(), "{name}");
        }
        let message = check_name("revision", "../x").unwrap_err().to_string();
        assert!(message.contains("`../x` is not a valid revision"), "{message}");
    }
}
