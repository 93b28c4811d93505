//! Files from the Hugging Face hub, in the cache that all hub programs share.
//!
//! The crate `hf-hub` 0.5 provides addresses and the layout of the cache: a blob named after its `ETag` (for large
//! files the SHA-256 of the content), a link to it in `snapshots/COMMIT/`, and `refs/BRANCH` with a commit. Its
//! transfers are not used: they have no time-outs, follow relative redirects without a limit but no absolute ones,
//! check neither size nor digest, ignore `Retry-After`, and need symbolic links. So this module has its own requests
//! (`client`), retries (`fetch`), checks (`verify`) and links (`place`).

mod client;
mod env;
mod failure;
mod fetch;
mod place;
mod verify;

pub use fetch::{Fetched, fetch_file};

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The default revision.
pub(crate) const MAIN: &str = "main";

/// The default of `HF_ENDPOINT`.
const ENDPOINT: &str = "https://huggingface.co";

/// The hub, its cache, and the options of requests.
#[derive(Clone)]
pub struct HubOptions {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The cache folder. It contains a folder for each repository.
    pub cache_dir: PathBuf,
    /// Optional access token. Public data sets do not need one. It is only sent to the host of the endpoint.
    pub token: Option<String>,
    /// Whether requests are forbidden. Then, only cached files can be used.
    pub offline: bool,
    /// Maximum number of retries after failed attempts.
    pub retries: u32,
    /// The pause before the first retry, unless the hub requests another. It doubles with each retry.
    pub backoff: Duration,
    /// Time-out for connecting and for each next byte, in requests for the metadata of a file; above 0.
    pub etag_timeout: Duration,
    /// Time-out for connecting and for each next byte, in transfers of a file; above 0.
    pub download_timeout: Duration,
}

impl HubOptions {
    /// Options for a hub and a cache folder: no token, five retries, the first after 0.5 s, and time-outs of 10 s, as
    /// in the client of Hugging Face.
    pub fn new(endpoint: impl Into<String>, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: endpoint.into(),
            cache_dir: cache_dir.into(),
            token: None,
            offline: false,
            retries: 5,
            backoff: Duration::from_millis(500),
            etag_timeout: Duration::from_secs(10),
            download_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for HubOptions {
    /// Does not print the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &failure::without_user(&self.endpoint))
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .field("etag_timeout", &self.etag_timeout)
            .field("download_timeout", &self.download_timeout)
            .finish()
    }
}

/// Splits `name@revision`. The second value is `None` without a revision.
pub(crate) fn split_revision(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(name, revision)| (name, Some(revision)))
}
