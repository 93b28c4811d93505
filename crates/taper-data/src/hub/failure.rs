//! Failures of an attempt to fetch a file, and whether a retry can help.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;
use ureq::http::{HeaderMap, StatusCode};

/// The longest requested wait. If the hub requests a longer one, fetching fails immediately.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub(super) const CHECK_NETWORK: &str = "check the network and HF_ENDPOINT and try again (received bytes are kept), \
     or download the files by hand and give their folder";

pub(super) const CHECK_CACHE: &str =
    "check that the cache folder (HF_HOME) is writable and has free space";

/// A failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A retry may help, after the pause that the hub requests, if any.
    Again { cause: String, wait: Option<Duration> },
    /// The received file differs from the announced one. It has been deleted.
    Corrupt(String),
    /// A retry cannot help. `os_error` is the number of the operating system's error, if there was one.
    Final { cause: String, remedy: String, os_error: Option<i32> },
}

impl Failure {
    pub(super) fn again(cause: impl Into<String>) -> Self {
        Self::Again { cause: cause.into(), wait: None }
    }

    pub(super) fn give_up(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Final { cause: cause.into(), remedy: remedy.into(), os_error: None }
    }

    /// The failure for a status code of the hub. `revision` is the requested revision.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, revision: &str) -> Self {
        match status.as_u16() {
            429 => {
                let cause = "the hub returned status 429 (too many requests)".to_owned();
                match retry_after(headers) {
                    Some(wait) if wait > LONGEST_WAIT => Self::give_up(
                        format!("{cause} and requests to wait {} s", wait.as_secs()),
                        "try again after that time; with a token in HF_TOKEN the hub allows more requests",
                    ),
                    wait => Self::Again { cause, wait },
                }
            }
            code @ (401 | 403) => Self::give_up(
                format!("the hub returned status {code} (not allowed)"),
                "check the token in HF_TOKEN or in the token file of HF_HOME",
            ),
            code @ (408 | 416 | 500..) => Self::again(format!("the hub returned status {code}")),
            code => Self::give_up(
                format!("the hub returned status {code}"),
                format!(
                    "check the revision `{revision}` and HF_ENDPOINT, or download the files by hand and give their folder"
                ),
            ),
        }
    }

    /// The failure for a request without a response.
    pub(super) fn of_request(error: ureq::Error, patience: Duration) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::again(waited(patience)),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => not_an_address(error),
            _ => Self::again(format!("no response from the hub: {error}")),
        }
    }

    /// The failure for an interrupted response.
    pub(super) fn of_body(error: Error, patience: Duration) -> Self {
        match ureq::Error::from(error) {
            ureq::Error::Timeout(_) => Self::again(waited(patience)),
            error => Self::again(format!("the connection was interrupted: {error}")),
        }
    }

    /// The failure for a file in the cache folder that cannot be read or written.
    pub(super) fn of_file(error: Error, path: &Path) -> Self {
        let cause = format!("cannot access {}: {error}", path.display());
        match error.kind() {
            ErrorKind::Interrupted => Self::again(cause),
            _ => {
                let os_error = error.raw_os_error();
                Self::Final { cause, remedy: CHECK_CACHE.to_owned(), os_error }
            }
        }
    }
}

pub(super) fn not_an_address(error: impl std::fmt::Display) -> Failure {
    Failure::give_up(format!("the address is invalid: {error}"), "check HF_ENDPOINT")
}

/// A text without user names and passwords in its addresses: `http://user:word@host/x` becomes `http://host/x`.
pub(super) fn without_user(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, address)) = rest.split_once("://") {
        let is_end = |c: char| matches!(c, '/' | '?' | '#' | '"') || c.is_whitespace();
        let (authority, after) = address.split_at(address.find(is_end).unwrap_or(address.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        shown.extend([before, "://", host]);
        rest = after;
    }
    shown + rest
}

fn waited(patience: Duration) -> String {
    format!("the hub sent no data for {patience:?}")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_not_shown() {
        for (text, want) in [
            ("https://user:word@mirror.corp/x@main", "https://mirror.corp/x@main"),
            ("cannot reach http://me@host: refused", "cannot reach http://host: refused"),
            ("https://hub.org/a and http://a:b@c/d", "https://hub.org/a and http://c/d"),
            ("no address, a@b", "no address, a@b"),
        ] {
            assert_eq!(without_user(text), want);
        }
    }

    #[test]
    fn a_full_disk_keeps_its_error() {
        let error = Failure::of_file(Error::from_raw_os_error(28), Path::new("cache/x"));
        assert!(matches!(error, Failure::Final { os_error: Some(28), .. }), "{error:?}");
    }
}
