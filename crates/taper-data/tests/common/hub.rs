//! A local test hub with configurable faults.
//!
//! As the real hub for large files, it responds to `/datasets/REPO/resolve/REVISION/FILE` with a redirect that has
//! commit, digest and size in its headers. It serves the content at another path, in ranges. There are two commits,
//! `main` and `dev`; the files of `dev` are given as `dev:FILE`.

use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The commit of the branch `dev`.
pub(crate) const DEV: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// A fault. Each fault happens once, in the given order, in the first request that it fits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Any request returns this status (and header lines).
    Status(u16, &'static str),
    /// A transfer ends after this many bytes, although more were announced.
    BreakAfter(usize),
    /// The last byte of a transfer is wrong.
    Corrupt,
    /// The announced size is wrong by this number.
    SizeOff(i64),
    /// A transfer sends the whole file, for any requested range.
    IgnoreRange,
    /// A transfer from a later byte on fails with status 416, as if the file were shorter.
    NoSuchBytes,
    /// The announced digest is replaced by this text.
    ETag(&'static str),
    /// The announced commit is replaced by this text.
    Commit(&'static str),
    /// The announced digest is marked as weak.
    WeakETag,
    /// The file is sent without a redirect, as for small files, with this digest; with or without ranges.
    Direct { etag: &'static str, ranges: bool },
    /// Any request is redirected to the same path of another address; if empty, of the same address.
    Moved(String),
    /// Any request gets no response, and the connection stays open.
    Hang,
    /// A transfer stops after this many bytes, and the connection stays open.
    Stall(usize),
}

pub(crate) struct Hub {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    faults: VecDeque<Fault>,
    /// Repeated when `faults` is empty.
    forever: Option<Fault>,
    log: Vec<String>,
    /// Connections that stay open.
    open: Vec<TcpStream>,
}

impl Hub {
    /// Serves `files` (path in the repository, content); `faults` happen once each, `forever` from then on.
    pub(crate) fn start(files: &[(&str, &[u8])], faults: &[Fault], forever: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            faults: faults.iter().cloned().collect(),
            forever,
            ..State::default()
        }));
        let (shared, home) = (Arc::clone(&state), endpoint.clone());
        // The thread lives as long as the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Errors of a client that disconnects are ignored.
                let _ = answer(stream, &shared, &home);
            }
        });
        Self { endpoint, state }
    }

    /// The requests since the last call: path, range, and authorization if present.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// The number of one-time faults that have not happened yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.state.lock().unwrap().faults.len()
    }
}

impl State {
    /// The next fault, if it fits.
    fn fault(&mut self, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        match self.faults.front() {
            Some(fault) => {
                if fits(fault) {
                    self.faults.pop_front()
                } else {
                    None
                }
            }
            None => self.forever.clone().filter(fits),
        }
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>, home: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or("").to_owned();
    let (mut range, mut authorization) = (None, String::new());
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(r) = line.strip_prefix("range: bytes=") {
            range = r
                .split_once('-')
                .map(|(a, b)| (a.parse::<usize>().unwrap(), b.parse::<usize>().ok()));
        }
        if let Some(a) = line.strip_prefix("authorization: ") {
            authorization = format!(" {a}");
        }
    }
    // A metadata request has a range of one byte; a transfer has a range without an end.
    let transfer = range.is_none_or(|(_, end)| end.is_none());

    let mut state = state.lock().unwrap();
    let what = match range {
        Some((a, None)) => format!("{a}-"),
        Some((a, Some(b))) => format!("{a}-{b}"),
        None => "whole".into(),
    };
    state.log.push(format!("{path} {what}{authorization}"));
    let out = stream;
    let reply = |status: u16, head: &str, body: &[u8], announced: usize| {
        let mut out = &out;
        write!(
            out,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {announced}\r\n{head}\r\n"
        )?;
        out.write_all(body)?;
        out.flush()
    };

    match state.fault(|f| matches!(f, Fault::Status(..) | Fault::Moved(_) | Fault::Hang)) {
        Some(Fault::Status(status, head)) => return reply(status, head, b"", 0),
        Some(Fault::Moved(to)) => {
            return reply(307, &format!("Location: {to}{path}\r\n"), b"", 0);
        }
        Some(_) => {
            state.open.push(out);
            return Ok(());
        }
        None => {}
    }
    let (commit, key) = match path.split_once("/resolve/") {
        Some((repo, rest)) if repo.starts_with("/datasets/") => match rest.split_once('/') {
            Some(("main" | COMMIT, name)) => (Some(COMMIT), name.to_owned()),
            Some(("dev" | DEV, name)) => (Some(DEV), format!("dev:{name}")),
            _ => return reply(404, "", b"", 0),
        },
        _ => (None, path.trim_start_matches("/storage/").to_owned()),
    };
    let Some(bytes) = state.files.get(&key).cloned() else { return reply(404, "", b"", 0) };
    let mut extra = String::new();
    if let Some(commit) = commit {
        match state.fault(|f| matches!(f, Fault::Direct { .. })) {
            Some(Fault::Direct { etag, ranges }) => {
                extra = format!("X-Repo-Commit: {commit}\r\nETag: \"{etag}\"\r\n");
                if !ranges {
                    return reply(200, &extra, &bytes, bytes.len());
                }
            }
            _ => {
                let commit = match state.fault(|f| matches!(f, Fault::Commit(_))) {
                    Some(Fault::Commit(text)) => text,
                    _ => commit,
                };
                let digest: String =
                    Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
                let fits = |f: &Fault| matches!(f, Fault::ETag(_) | Fault::WeakETag);
                let etag = match state.fault(fits) {
                    Some(Fault::ETag(text)) => format!("\"{text}\""),
                    Some(_) => format!("W/\"{digest}\""),
                    None => format!("\"{digest}\""),
                };
                let mut size = bytes.len() as i64;
                let fits = |f: &Fault| matches!(f, Fault::SizeOff(_)) && !transfer;
                if let Some(Fault::SizeOff(by)) = state.fault(fits) {
                    size += by;
                }
                let head = format!(
                    "Location: {home}/storage/{key}\r\nX-Repo-Commit: {commit}\r\nX-Linked-Size: {size}\r\n\
                     X-Linked-Etag: {etag}\r\nETag: \"other\"\r\n"
                );
                return reply(302, &head, b"", 0);
            }
        }
    }
    let (start, end) =
        range.map_or((0, bytes.len()), |(a, b)| (a, b.map_or(bytes.len(), |b| b + 1)));
    if start >= bytes.len() {
        return reply(416, &format!("Content-Range: bytes */{}\r\n", bytes.len()), b"", 0);
    }
    let head = format!("{extra}Content-Range: bytes {start}-{}/{}\r\n", end - 1, bytes.len());
    let mut body = bytes[start..end.min(bytes.len())].to_vec();
    let fits = |f: &Fault| {
        transfer
            && matches!(
                f,
                Fault::BreakAfter(_) | Fault::Corrupt | Fault::IgnoreRange | Fault::Stall(_)
            )
            || transfer && start > 0 && *f == Fault::NoSuchBytes
    };
    match state.fault(fits) {
        Some(Fault::BreakAfter(n)) => reply(206, &head, &body[..n.min(body.len())], body.len()),
        Some(Fault::Stall(n)) => {
            reply(206, &head, &body[..n.min(body.len())], body.len())?;
            state.open.push(out);
            Ok(())
        }
        Some(Fault::Corrupt) => {
            *body.last_mut().unwrap() ^= 1;
            reply(206, &head, &body, body.len())
        }
        Some(Fault::IgnoreRange) => reply(200, "", &bytes, bytes.len()),
        Some(Fault::NoSuchBytes) => reply(416, "", b"", 0),
        _ => reply(206, &head, &body, body.len()),
    }
}
