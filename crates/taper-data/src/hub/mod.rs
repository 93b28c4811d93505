//! Files from a hub, in the cache that every program of the hub shares.
//!
//! `hf-hub` 0.5 knows addresses and the layout of the cache: a blob named after the `ETag` (for large files the SHA-256
//! of the content), linked into `snapshots/COMMIT/`, and `refs/BRANCH`, which holds a commit. Its own transfers have no
//! time-outs, follow relative redirects without end and absolute ones not at all, check neither size nor digest, wait
//! for nothing and need symbolic links. So requests (`client`), retries (`fetch`), checks (`verify`) and links
//! (`place`) are here.

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

/// The branch that is meant where no revision is named.
pub(crate) const MAIN: &str = "main";

/// The hub used where `HF_ENDPOINT` is not set.
const ENDPOINT: &str = "https://huggingface.co";

/// Where to fetch from and to.
#[derive(Clone)]
pub struct HubOptions {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The cache folder, which holds a folder for each repository.
    pub cache_dir: PathBuf,
    /// Access token, if there is one. Public data sets need none. It is sent to the endpoint's own host alone.
    pub token: Option<String>,
    /// Never make a request; only what is cached can be used.
    pub offline: bool,
    /// How many failed attempts are followed by another one.
    pub retries: u32,
    /// The pause before the first retry, unless the hub asks for another; it doubles from one retry to the next.
    pub backoff: Duration,
    /// The longest wait for a connection, and for each next byte, when asking what a file is; above 0.
    pub etag_timeout: Duration,
    /// The longest wait for a connection, and for each next byte, when transferring a file; above 0.
    pub download_timeout: Duration,
}

impl HubOptions {
    /// A hub and a cache folder, without a token; five retries, the first after half a second; time-outs of ten seconds,
    /// as the hub's own client has.
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
    /// Leaves out the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
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

/// Splits `name@revision`; without a revision, `None`.
pub(crate) fn split_revision(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(name, revision)| (name, Some(revision)))
}
