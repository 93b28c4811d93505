//! Requests to the hub, with a limit on redirects, and time-outs. The token is only sent to the host of the hub.

use super::HubOptions;
use super::failure::{CHECK_NETWORK, Failure, not_an_address};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

/// Maximum number of redirects for one file.
const MAX_REDIRECTS: usize = 10;

/// The metadata of a file that the hub announces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// The commit of the file.
    pub(super) commit: String,
    /// The `ETag`; for large files the SHA-256 of the content.
    pub(super) etag: String,
    /// Size in bytes.
    pub(super) size: u64,
}

/// The transfer of a file from some byte on.
pub(super) struct Transfer {
    pub(super) body: Body,
    /// The first byte. It is 0 if the server sends the whole file, even if a range was requested.
    pub(super) start: u64,
    /// Size of the whole file, if the server states it.
    pub(super) total: Option<u64>,
}

pub(super) struct Client<'a> {
    options: &'a HubOptions,
    revision: &'a str,
    questions: Patient,
    transfers: Patient,
}

/// An HTTP agent with a time-out for connecting and for each next byte. It follows no redirects, and returns every
/// status as a response.
struct Patient {
    agent: Agent,
    patience: Duration,
}

impl<'a> Client<'a> {
    /// A client for files of `revision`.
    pub(super) fn new(options: &'a HubOptions, revision: &'a str) -> Self {
        Self {
            options,
            revision,
            questions: Patient::new(options.etag_timeout),
            transfers: Patient::new(options.download_timeout),
        }
    }

    /// Requests the metadata of the file at `url`.
    pub(super) fn ask(&self, url: &str) -> Result<Promise, Failure> {
        // The redirect to the storage of the file has the metadata. A redirect to another address of the hub may not
        // have it.
        let (mut commit, mut linked) = (None, None);
        let answer = self.follow(&self.questions, url, "bytes=0-0", |headers| {
            commit = commit.take().or_else(|| text(headers, "x-repo-commit"));
            linked = linked.take().or_else(|| text(headers, "x-linked-etag"));
            commit.is_some() && linked.is_some() && headers.contains_key("x-linked-size")
        })?;
        let answer = self.expect_success(answer)?;
        let headers = answer.headers();
        let etag = linked.or_else(|| text(headers, "etag")).ok_or_else(|| not_a_hub("etag"))?;
        let commit = commit.ok_or_else(|| not_a_hub("x-repo-commit"))?;
        let size = number(headers, "x-linked-size")
            .or_else(|| content_range(headers)?.1)
            // A server without support for ranges sends the whole file.
            .or_else(|| number(headers, "content-length").filter(|_| answer.status() == 200))
            .ok_or_else(|| not_a_hub("content-range"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        for (what, text) in [("ETag", &etag), ("commit", &commit)] {
            // Both become file names in the cache.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if text.is_empty() || text.len() > 128 || !text.bytes().all(plain) {
                let cause = format!("the hub returned an invalid {what}: {text:?}");
                return Err(Failure::give_up(cause, CHECK_NETWORK));
            }
        }
        Ok(Promise { commit, etag, size })
    }

    /// Requests the file at `url` from byte `start` on. If the server has no bytes from there on, requests the whole
    /// file.
    pub(super) fn transfer(&self, url: &str, start: u64) -> Result<Transfer, Failure> {
        let answer = self.follow(&self.transfers, url, &format!("bytes={start}-"), |_| false)?;
        if answer.status() == 416 && start > 0 {
            return self.transfer(url, 0);
        }
        let answer = self.expect_success(answer)?;
        let (start, total) = match answer.status().as_u16() {
            206 => content_range(answer.headers()).ok_or_else(|| not_a_hub("content-range"))?,
            _ => (0, answer.body().content_length()),
        };
        Ok(Transfer { body: answer.into_body(), start, total })
    }

    /// Sends a request and follows redirects, until `is_enough` returns true for the headers of a response. It is
    /// called for each response.
    fn follow(
        &self,
        via: &Patient,
        url: &str,
        range: &str,
        mut is_enough: impl FnMut(&HeaderMap) -> bool,
    ) -> Result<Response<Body>, Failure> {
        let mut at: Uri = url.parse().map_err(not_an_address)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(via, &at, range)?;
            let headers = answer.headers();
            if is_enough(headers) || !answer.status().is_redirection() {
                return Ok(answer);
            }
            let location = text(headers, "location").ok_or_else(|| not_a_hub("location"))?;
            at = resolve(&at, &location).ok_or_else(|| {
                let cause = format!("the hub redirects to an invalid address: {location:?}");
                Failure::give_up(cause, CHECK_NETWORK)
            })?;
        }
        Err(Failure::again(format!("the hub redirects more than {MAX_REDIRECTS} times")))
    }

    fn send(&self, via: &Patient, at: &Uri, range: &str) -> Result<Response<Body>, Failure> {
        let mut request = via.agent.get(at).header("Range", range);
        if let Some(token) = &self.options.token
            && self.options.endpoint.parse().is_ok_and(|home| may_have_token(&home, at))
        {
            check_token(token)?;
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| Failure::of_request(error, via.patience))
    }

    fn expect_success(&self, answer: Response<Body>) -> Result<Response<Body>, Failure> {
        let status = answer.status();
        match status.is_client_error() || status.is_server_error() {
            true => Err(Failure::of_status(status, answer.headers(), self.revision)),
            false => Ok(answer),
        }
    }
}

impl Patient {
    fn new(patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Without compression, ranges and sizes are those of the file.
            .accept_encoding("identity")
            .user_agent(concat!("taper/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience));
        Self { agent: config.build().into(), patience }
    }
}

fn not_a_hub(missing: &str) -> Failure {
    let cause = format!("the response is not from a hub: it has no valid header `{missing}`");
    Failure::give_up(cause, CHECK_NETWORK)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// The first byte and the total size from `bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, "content-range")?;
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The target of a redirect from `at`.
fn resolve(at: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (at.scheme_str()?, at.authority()?);
    // A query may contain another address, for example on a login page. So `://` alone does not make a location
    // absolute.
    let is_scheme =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let target = if location.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", at.path())
    } else {
        let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    target.parse().ok().filter(|uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")))
}

/// Whether the token may be sent to `to`: the host and port of the hub, or the same host over HTTPS instead of HTTP.
fn may_have_token(home: &Uri, to: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16().or_else(|| Some(if uri.scheme_str()? == "https" { 443 } else { 80 }))
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    let same_port = home.scheme() == to.scheme() && port(home) == port(to);
    let encrypted = (home.scheme_str(), to.scheme_str()) == (Some("http"), Some("https"))
        && (port(home), port(to)) == (Some(80), Some(443));
    home.host().is_some() && host(home) == host(to) && (same_port || encrypted)
}

/// Checks that the token is valid in a header. A copied token often has a stray character.
fn check_token(token: &str) -> Result<(), Failure> {
    let Some((place, stray)) = token.chars().enumerate().find(|(_, c)| !c.is_ascii_graphic())
    else {
        return Ok(());
    };
    let what = match stray {
        '\n' | '\r' => "a line break".to_owned(),
        ' ' => "a space".to_owned(),
        c if c.is_ascii() => format!("the control character {:?}", c),
        c => format!("{c:?}, which is not ASCII,"),
    };
    Err(Failure::give_up(
        format!("the access token has {what} as character {}", place + 1),
        "set HF_TOKEN, or the token file of HF_HOME, to the token alone",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_may_be_absolute_or_relative() {
        let at = uri("http://hub:8080/a/b/c?d=e");
        for (location, wanted) in [
            ("https://other/x?y", Some("https://other/x?y")),
            ("//other/x", Some("http://other/x")),
            ("/x/y?z", Some("http://hub:8080/x/y?z")),
            ("x/y", Some("http://hub:8080/a/b/x/y")),
            ("?x", Some("http://hub:8080/a/b/c?x")),
            ("/x?next=https://other/", Some("http://hub:8080/x?next=https://other/")),
            ("x?next=https://other/", Some("http://hub:8080/a/b/x?next=https://other/")),
            ("file:///etc/passwd", None),
            ("ftp://other/x", None),
            ("http://", None),
            ("/a b", None),
        ] {
            let found = resolve(&at, location).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), wanted, "{location}");
        }
    }

    #[test]
    fn the_token_is_only_sent_to_its_host() {
        for (home, to, wanted) in [
            ("https://hub", "https://hub/x", true),
            ("https://hub", "https://HUB:443/x", true),
            ("http://hub", "https://hub/x", true),
            ("http://hub:8080", "http://hub:8080/x", true),
            ("https://hub", "http://hub/x", false),
            ("https://hub", "https://hub:8443/x", false),
            ("http://hub:8080", "https://hub/x", false),
            ("https://hub", "https://cdn.hub/x", false),
            ("https://hub", "https://hub.evil/x", false),
            ("https://hub", "https://hub@evil/x", false),
        ] {
            assert_eq!(may_have_token(&uri(home), &uri(to)), wanted, "{home} {to}");
        }
    }

    #[test]
    fn an_error_names_a_stray_character_of_the_token_but_not_the_token() {
        assert_eq!(check_token("hf_Abc-123"), Ok(()));
        for (token, words) in [
            ("hf_ab\ncd", "a line break as character 6"),
            ("hf_ab cd", "a space as character 6"),
            ("hf_ab\u{7}", r"the control character '\u{7}' as character 6"),
            ("“hf_ab”", "'“', which is not ASCII, as character 1"),
        ] {
            let Err(Failure::Final { cause, remedy, .. }) = check_token(token) else { panic!() };
            assert!(cause.contains(words) && remedy.contains("HF_TOKEN"), "{cause}");
            assert!(!cause.contains("hf_"), "{cause}");
        }
    }

    #[test]
    fn content_ranges_are_parsed() {
        let range = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", value.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for bad in ["bytes */10", "5-9/10", "bytes 5-9", "bytes -1-9/10"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
