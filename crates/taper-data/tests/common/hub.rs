//! A hub on loopback that misbehaves to order.
//!
//! As the real one does for large files, it answers `/datasets/REPO/resolve/main/FILE` with a redirect that carries
//! commit, digest and size, and serves the bytes elsewhere, in ranges.

use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One misdeed. Each is done once, in the order given, to the first request that it fits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Any request is answered with this status (and header lines).
    Status(u16, &'static str),
    /// A transfer ends after so many bytes, though more were announced.
    BreakAfter(usize),
    /// A transfer has its last byte changed.
    Corrupt,
    /// The announced size is off by this much.
    SizeOff(i64),
    /// A transfer is sent whole, whatever range was asked for.
    IgnoreRange,
    /// The announced digest is replaced by this text.
    ETag(&'static str),
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
            log: Vec::new(),
        }));
        let (shared, home) = (Arc::clone(&state), endpoint.clone());
        // The thread lives as long as the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is none of the server's business.
                let _ = answer(stream, &shared, &home);
            }
        });
        Self { endpoint, state }
    }

    /// What was asked for since the last call: path, range, and authorization where there was one.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// How many of the one-time faults have not happened.
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
    // A question about size asks for one byte; a transfer asks for all from some byte on.
    let transfer = range.is_none_or(|(_, end)| end.is_none());

    let mut state = state.lock().unwrap();
    let what = match range {
        Some((a, None)) => format!("{a}-"),
        Some((a, Some(b))) => format!("{a}-{b}"),
        None => "whole".into(),
    };
    state.log.push(format!("{path} {what}{authorization}"));
    let mut out = stream;
    let mut reply = |status: u16, head: &str, body: &[u8], announced: usize| {
        write!(
            out,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {announced}\r\n{head}\r\n"
        )?;
        out.write_all(body)?;
        out.flush()
    };

    if let Some(Fault::Status(status, head)) = state.fault(|f| matches!(f, Fault::Status(..))) {
        return reply(status, head, b"", 0);
    }
    let (resolve, name) = match (path.split_once("/resolve/main/"), path.strip_prefix("/storage/"))
    {
        (Some((repo, name)), _) if repo.starts_with("/datasets/") => (true, name.to_owned()),
        (_, Some(name)) => (false, name.to_owned()),
        _ => return reply(404, "", b"", 0),
    };
    let Some(bytes) = state.files.get(&name).cloned() else { return reply(404, "", b"", 0) };
    if resolve {
        let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let etag = match state.fault(|f| matches!(f, Fault::ETag(_))) {
            Some(Fault::ETag(text)) => text.to_owned(),
            _ => digest,
        };
        let size = bytes.len();
        let head = format!(
            "Location: {home}/storage/{name}\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Size: {size}\r\n\
             X-Linked-Etag: \"{etag}\"\r\nETag: \"other\"\r\n"
        );
        return reply(302, &head, b"", 0);
    }
    let (start, end) =
        range.map_or((0, bytes.len()), |(a, b)| (a, b.map_or(bytes.len(), |b| b + 1)));
    if start >= bytes.len() {
        return reply(416, &format!("Content-Range: bytes */{}\r\n", bytes.len()), b"", 0);
    }
    let mut size = bytes.len() as i64;
    if let Some(Fault::SizeOff(by)) = state.fault(|f| matches!(f, Fault::SizeOff(_)) && !transfer) {
        size += by;
    }
    let head = format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
    let mut body = bytes[start..end.min(bytes.len())].to_vec();
    let fits = |f: &Fault| {
        transfer && matches!(f, Fault::BreakAfter(_) | Fault::Corrupt | Fault::IgnoreRange)
    };
    match state.fault(fits) {
        Some(Fault::BreakAfter(n)) => reply(206, &head, &body[..n.min(body.len())], body.len()),
        Some(Fault::Corrupt) => {
            *body.last_mut().unwrap() ^= 1;
            reply(206, &head, &body, body.len())
        }
        Some(Fault::IgnoreRange) => reply(200, "", &bytes, bytes.len()),
        _ => reply(206, &head, &body, body.len()),
    }
}
