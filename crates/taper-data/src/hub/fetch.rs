//! Fetching one file: cached, or transferred by `hf-hub` with retries, then verified.

use super::HubOptions;
use super::verify::{Verdict, remove, verify};
use crate::{DataError, FetchProgress, Result};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

/// A hub that asks to wait longer than this is taken at its word and left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The longest pause that doubling arrives at.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Returns the path of `filename` of the data set repository `repo` (`owner/name`) in the cache, fetching it first if
/// it is not there. A cached file causes no request.
///
/// A transfer that breaks off is resumed; an overloaded hub (429, 5xx) or a cut connection is tried again after a
/// pause. A file whose size or SHA-256 is not as promised is deleted and fetched once more.
///
/// # Errors
/// [`DataError::Fetch`], naming address, cause and remedy, once retrying has not helped or cannot help.
/// [`DataError::Io`] if the cache cannot be read or written.
pub fn fetch_file(
    repo: &str,
    filename: &str,
    options: &HubOptions,
    progress: &dyn FetchProgress,
) -> Result<PathBuf> {
    Fetch::new(repo, filename, options, progress)?.run()
}

/// Why an attempt failed, and whether another may succeed.
enum Failure {
    Again { cause: String, wait: Option<Duration> },
    Final { cause: String, remedy: String },
}

impl Failure {
    fn again(cause: impl Into<String>) -> Self {
        Self::Again { cause: cause.into(), wait: None }
    }

    fn give_up(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Final { cause: cause.into(), remedy: remedy.into() }
    }
}

const CHECK_NETWORK: &str = "check the network and HF_ENDPOINT and try again (what has arrived is kept), \
     or download the files by hand and give their folder";

const CHECK_CACHE: &str = "check that the cache folder (HF_HOME) can be written and has room";

struct Fetch<'a> {
    filename: &'a str,
    url: String,
    options: &'a HubOptions,
    progress: &'a dyn FetchProgress,
    api: Api,
    remote: ApiRepo,
    cached: CacheRepo,
    repo_dir: PathBuf,
}

impl<'a> Fetch<'a> {
    fn new(
        repo: &str,
        filename: &'a str,
        options: &'a HubOptions,
        progress: &'a dyn FetchProgress,
    ) -> Result<Self> {
        // hf-hub links blobs by relative paths and wants to know where both ends are.
        let dir = std::path::absolute(&options.cache_dir)
            .map_err(|e| DataError::io(&options.cache_dir, e))?;
        let repo = Repo::dataset(repo.to_owned());
        let api = ApiBuilder::from_cache(Cache::new(dir.clone()))
            .with_endpoint(options.endpoint.clone())
            .with_token(options.token.clone())
            .with_progress(false)
            .with_user_agent("taper", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| DataError::Invalid(format!("cannot prepare to fetch: {e}")))?;
        let remote = api.repo(repo.clone());
        let url = remote.url(filename);
        let repo_dir = dir.join(repo.folder_name());
        Ok(Self {
            filename,
            url,
            options,
            progress,
            api,
            remote,
            cached: Cache::new(dir).repo(repo),
            repo_dir,
        })
    }

    fn run(&self) -> Result<PathBuf> {
        let (mut n_failed, mut fetched, mut renewed) = (0, false, false);
        loop {
            if let Some(path) = self.cached.get(self.filename) {
                let Verdict::Corrupt(how) = verify(&path, &self.repo_dir, self.progress)? else {
                    return Ok(path);
                };
                remove(&path)?;
                self.renew(how, &mut renewed)?;
            } else if fetched {
                return Err(
                    self.error("it was fetched, but is not in the cache".into(), CHECK_NETWORK)
                );
            }
            if self.options.offline {
                return Err(self.error(
                    "it is not cached, and HF_HUB_OFFLINE forbids requests".into(),
                    "unset HF_HUB_OFFLINE, or give a folder with the files",
                ));
            }
            match self.attempt() {
                Ok(None) => fetched = true,
                Ok(Some(how)) => self.renew(how, &mut renewed)?,
                Err(Failure::Final { cause, remedy }) => return Err(self.error(cause, &remedy)),
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
                    let (wait, why) = wait.map_or((backoff, ""), |w| (w, ", as the hub asks"));
                    n_failed += 1;
                    self.progress.note(&format!(
                        "{}: {cause}; trying again in {wait:?}{why}",
                        self.filename
                    ));
                    std::thread::sleep(wait);
                }
            }
        }
    }

    /// Allows one more transfer after a corrupt one.
    fn renew(&self, how: String, renewed: &mut bool) -> Result<()> {
        if std::mem::replace(renewed, true) {
            return Err(self.error(
                format!("the file is corrupt, twice in a row: {how}"),
                "try again later or from another HF_ENDPOINT",
            ));
        }
        self.progress.note(&format!(
            "{} is corrupt ({how}); it was deleted and is fetched anew",
            self.filename
        ));
        Ok(())
    }

    /// One transfer. `Ok(Some(how))` if the file that arrived has the wrong size; it is gone again then.
    fn attempt(&self) -> Result<Option<String>, Failure> {
        let meta = guarded(|| self.api.metadata(&self.url)).map_err(|e| self.judge(e))?;
        for (what, text) in [("ETag", meta.etag()), ("commit", meta.commit_hash())] {
            // Both become names of files in the cache.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if text.is_empty() || text.len() > 128 || !text.bytes().all(plain) {
                return Err(Failure::give_up(
                    format!("the hub answered with a strange {what}: {text:?}"),
                    CHECK_NETWORK,
                ));
            }
        }
        let size = meta.size() as u64;
        let blob = self.cached.blob_path(meta.etag());
        let part = blob.with_extension("part");
        // hf-hub can only append to a part; one that is as long as the file, or longer, it never gets past.
        if std::fs::metadata(&part).is_ok_and(|m| m.len() >= size) {
            std::fs::remove_file(&part).map_err(|e| self.judge(e.into()))?;
        }
        let bar = Bar { progress: self.progress, begun: false };
        let path =
            guarded(|| self.remote.download_with_progress(self.filename, bar)).map_err(|e| {
                // The hub does not serve the rest of this part, so it is of no use.
                if status(&e) == Some(416) {
                    let _ = std::fs::remove_file(&part);
                }
                self.judge(e)
            })?;
        let found = std::fs::metadata(&path).map_err(|e| self.judge(e.into()))?.len();
        if found != size {
            remove(&path).map_err(|e| Failure::give_up(e.to_string(), CHECK_CACHE))?;
            return Ok(Some(format!("it has {found} bytes, but {size} were promised")));
        }
        Ok(None)
    }

    fn error(&self, cause: String, remedy: &str) -> DataError {
        DataError::Fetch { url: self.url.clone(), cause, remedy: remedy.to_owned() }
    }

    /// Whether a failure may pass by itself.
    fn judge(&self, error: ApiError) -> Failure {
        match status(&error) {
            Some(429) => match self.retry_after() {
                Some(wait) if wait > LONGEST_WAIT => Failure::give_up(
                    format!(
                        "the hub answered 429 (too many requests) and asks to wait {} s",
                        wait.as_secs()
                    ),
                    "try again after that time; with a token in HF_TOKEN the hub allows more requests",
                ),
                wait => Failure::Again {
                    cause: "the hub answered 429 (too many requests)".into(),
                    wait,
                },
            },
            Some(code @ (401 | 403)) => Failure::give_up(
                format!("the hub answered {code} (not allowed)"),
                "check the token in HF_TOKEN or in the token file of HF_HOME",
            ),
            Some(code @ (408 | 416 | 500..)) => Failure::again(format!("the hub answered {code}")),
            Some(code) => Failure::give_up(
                format!("the hub answered {code}"),
                "check HF_ENDPOINT, or download the files by hand and give their folder",
            ),
            None => match &error {
                ApiError::IoError(e) => match e.kind() {
                    ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::StorageFull
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::NotADirectory
                    | ErrorKind::AlreadyExists
                    | ErrorKind::NotFound => Failure::give_up(
                        format!("{} cannot be written: {e}", self.repo_dir.display()),
                        CHECK_CACHE,
                    ),
                    _ => Failure::again(format!("the connection broke off: {e}")),
                },
                ApiError::RequestError(e)
                    if matches!(**e, ureq::Error::BadUri(_) | ureq::Error::Http(_)) =>
                {
                    Failure::give_up(format!("this is not an address: {e}"), "check HF_ENDPOINT")
                }
                ApiError::RequestError(e) => Failure::again(format!("no answer from the hub: {e}")),
                ApiError::LockAcquisition(path) => {
                    Failure::again(format!("another process holds {}", path.display()))
                }
                ApiError::MissingHeader(_)
                | ApiError::InvalidHeader(_)
                | ApiError::ParseIntError(_) => Failure::give_up(
                    format!("the answer is not that of a hub: {error}"),
                    CHECK_NETWORK,
                ),
                _ => Failure::again(error.to_string()),
            },
        }
    }

    /// How long the hub asks to wait. `hf-hub` drops the headers of a failed answer, so the question is put once more;
    /// `None` if the hub no longer refuses, or does not say.
    fn retry_after(&self) -> Option<Duration> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let mut request = agent.get(&self.url).header("Range", "bytes=0-0");
        if let Some(token) = &self.options.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.call().ok().filter(|a| a.status().as_u16() == 429)?;
        let seconds = answer.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(e) => match **e {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// `hf-hub` asserts a few things about answers that are not ours to assume.
fn guarded<T>(call: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(std::io::Error::other("the hub's answer could not be handled").into())
    })
}

/// Passes `hf-hub`'s progress on; it announces each transfer twice.
struct Bar<'a> {
    progress: &'a dyn FetchProgress,
    begun: bool,
}

impl Progress for Bar<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        if !std::mem::replace(&mut self.begun, true) {
            self.progress.start(filename, size as u64);
        }
    }

    fn update(&mut self, size: usize) {
        self.progress.advance(size as u64);
    }

    fn finish(&mut self) {
        self.progress.finish();
    }
}
