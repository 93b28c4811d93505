//! Why an attempt failed, and whether another may succeed.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;
use ureq::http::{HeaderMap, StatusCode};

/// A hub that asks to wait longer than this is taken at its word and left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub(super) const CHECK_NETWORK: &str = "check the network and HF_ENDPOINT and try again (what has arrived is kept), \
     or download the files by hand and give their folder";

pub(super) const CHECK_CACHE: &str =
    "check that the cache folder (HF_HOME) can be written and has room";

/// An attempt that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may pass by itself, after the pause that the hub asks for, if it asks for one.
    Again { cause: String, wait: Option<Duration> },
    /// What arrived is not what was promised; it is gone again.
    Corrupt(String),
    /// It does not pass by itself.
    Final { cause: String, remedy: String },
}

impl Failure {
    pub(super) fn again(cause: impl Into<String>) -> Self {
        Self::Again { cause: cause.into(), wait: None }
    }

    pub(super) fn give_up(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Final { cause: cause.into(), remedy: remedy.into() }
    }

    /// The hub answered that something is wrong; `revision` is what it was asked for.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, revision: &str) -> Self {
        match status.as_u16() {
            429 => {
                let cause = "the hub answered 429 (too many requests)".to_owned();
                match retry_after(headers) {
                    Some(wait) if wait > LONGEST_WAIT => Self::give_up(
                        format!("{cause} and asks to wait {} s", wait.as_secs()),
                        "try again after that time; with a token in HF_TOKEN the hub allows more requests",
                    ),
                    wait => Self::Again { cause, wait },
                }
            }
            code @ (401 | 403) => Self::give_up(
                format!("the hub answered {code} (not allowed)"),
                "check the token in HF_TOKEN or in the token file of HF_HOME",
            ),
            code @ (408 | 416 | 500..) => Self::again(format!("the hub answered {code}")),
            code => Self::give_up(
                format!("the hub answered {code}"),
                format!(
                    "check the revision `{revision}` and HF_ENDPOINT, or download the files by hand and give their folder"
                ),
            ),
        }
    }

    /// There was no answer to a request.
    pub(super) fn of_request(error: ureq::Error, patience: Duration) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::again(waited(patience)),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => not_an_address(error),
            _ => Self::again(format!("no answer from the hub: {error}")),
        }
    }

    /// An answer broke off.
    pub(super) fn of_body(error: Error, patience: Duration) -> Self {
        match ureq::Error::from(error) {
            ureq::Error::Timeout(_) => Self::again(waited(patience)),
            error => Self::again(format!("the connection broke off: {error}")),
        }
    }

    /// Something in the cache folder cannot be read or written.
    pub(super) fn of_file(error: Error, path: &Path) -> Self {
        let cause = format!("{} cannot be written: {error}", path.display());
        match error.kind() {
            ErrorKind::Interrupted => Self::again(cause),
            _ => Self::give_up(cause, CHECK_CACHE),
        }
    }
}

pub(super) fn not_an_address(error: impl std::fmt::Display) -> Failure {
    Failure::give_up(format!("this is not an address: {error}"), "check HF_ENDPOINT")
}

fn waited(patience: Duration) -> String {
    format!("the hub was silent for {patience:?}")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
