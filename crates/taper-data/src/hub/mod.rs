//! Files from a hub, through `hf-hub` and its cache, shared with every other program that uses that cache.
//!
//! `hf-hub` 0.5 names a blob after the `ETag` (for large files the SHA-256 of the content), appends to
//! `blobs/ETAG.part` with a `Range` request, renames it when the transfer ends, and links it into `snapshots/`. It does
//! *not* check size or digest, does not wait and retry by itself, does not see `Retry-After`, and stays stuck on a
//! `.part` that is complete or too long. The `fetch` module adds all that.

mod fetch;
mod verify;

pub use fetch::fetch_file;

use crate::{DataError, Result};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The hub used where `HF_ENDPOINT` is not set.
const ENDPOINT: &str = "https://huggingface.co";

/// Where to fetch from and to.
#[derive(Clone)]
pub struct HubOptions {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The cache folder, which holds a folder for each repository.
    pub cache_dir: PathBuf,
    /// Access token, if there is one. Public data sets need none.
    pub token: Option<String>,
    /// Never make a request; only what is cached can be used.
    pub offline: bool,
    /// How many failed attempts are followed by another one.
    pub retries: u32,
    /// The pause before the first retry, unless the hub asks for another; it doubles from one retry to the next.
    pub backoff: Duration,
}

impl HubOptions {
    /// A hub and a cache folder, without a token; five retries, the first after half a second.
    pub fn new(endpoint: impl Into<String>, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: endpoint.into(),
            cache_dir: cache_dir.into(),
            token: None,
            offline: false,
            retries: 5,
            backoff: Duration::from_millis(500),
        }
    }

    /// What the environment says:
    ///
    /// | variable | meaning | otherwise |
    /// | --- | --- | --- |
    /// | `HF_ENDPOINT` | address of the hub | `https://huggingface.co` |
    /// | `HF_HUB_CACHE` | the cache folder | `$HF_HOME/hub` |
    /// | `HF_HOME` | folder of cache and token | `~/.cache/huggingface` |
    /// | `HF_TOKEN` | access token | the file `$HF_TOKEN_PATH`, else `$HF_HOME/token`, if it exists |
    /// | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: no request at all | requests where a file is not cached |
    ///
    /// Empty variables count as not set.
    ///
    /// # Errors
    /// [`DataError::Invalid`] if there is neither `HF_HOME` nor `HF_HUB_CACHE` nor a home folder.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok(), std::env::home_dir())
    }

    fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
        home_dir: Option<PathBuf>,
    ) -> Result<Self> {
        let set = |name: &str| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let home = set("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(home_dir?.join(".cache").join("huggingface")));
        let cache =
            set("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join("hub")));
        let cache = cache.ok_or_else(|| {
            DataError::Invalid(
                "there is no home folder for the cache of fetched files; set HF_HOME to a folder"
                    .into(),
            )
        })?;
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let token_file =
            set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
        let token = set("HF_TOKEN").or_else(|| {
            let text = std::fs::read_to_string(token_file?).ok()?;
            Some(text.trim().to_owned()).filter(|t| !t.is_empty())
        });
        let offline = set("HF_HUB_OFFLINE")
            .is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()));
        Ok(Self { token, offline, ..Self::new(endpoint.trim_end_matches('/'), cache) })
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
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)], home: Option<&str>) -> Result<HubOptions> {
        let get = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        HubOptions::from_lookup(get, home.map(PathBuf::from))
    }

    #[test]
    fn the_environment_is_honoured() {
        let o = options(&[], Some("/nowhere/me")).unwrap();
        assert_eq!((o.endpoint.as_str(), o.token, o.offline), (ENDPOINT, None, false));
        assert_eq!(o.cache_dir, PathBuf::from("/nowhere/me/.cache/huggingface/hub"));

        let o = options(
            &[
                ("HF_HOME", "/nowhere/h"),
                ("HF_ENDPOINT", "http://mirror/"),
                ("HF_HUB_OFFLINE", "1"),
            ],
            None,
        );
        let o = o.unwrap();
        assert_eq!((o.endpoint.as_str(), o.offline), ("http://mirror", true));
        assert_eq!(o.cache_dir, PathBuf::from("/nowhere/h/hub"));

        let o =
            options(&[("HF_HOME", "/nowhere/h"), ("HF_HUB_CACHE", "/nowhere/c")], None).unwrap();
        assert_eq!(o.cache_dir, PathBuf::from("/nowhere/c"));
        assert!(options(&[("HF_HOME", "")], None).unwrap_err().to_string().contains("set HF_HOME"));
    }

    #[test]
    fn tokens_come_from_the_variable_or_the_file_and_are_not_printed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), " filed \n").unwrap();
        let path = home.path().to_str().unwrap();
        let token = |vars: &[(&str, &str)]| options(vars, None).unwrap().token;
        assert_eq!(token(&[("HF_HOME", path)]).as_deref(), Some("filed"));
        assert_eq!(token(&[("HF_HOME", path), ("HF_TOKEN", "given")]).as_deref(), Some("given"));
        // The token stays in HF_HOME when the cache is elsewhere.
        assert_eq!(
            token(&[("HF_HOME", path), ("HF_HUB_CACHE", "/nowhere")]).as_deref(),
            Some("filed")
        );
        let shown = format!("{:?}", options(&[("HF_HOME", path)], None).unwrap());
        assert!(!shown.contains("filed"), "{shown}");
    }
}
