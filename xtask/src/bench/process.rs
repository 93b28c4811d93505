//! A benchmark process: receives requests as lines of JSON and writes responses.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use taper_host::{kill_group, lead_group};

use super::{Peer, TorchVariant};

/// One side of a comparison. Dropping it ends the process.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Builds and starts Taper's program for training.
    ///
    /// # Errors
    /// If it cannot be built or started.
    pub(crate) fn taper(root: &Path) -> Result<Self> {
        Self::start("taper", Command::new(build(root, "session")?))
    }

    /// Starts a variant of the PyTorch peer.
    ///
    /// # Errors
    /// If Python cannot be started.
    pub(crate) fn torch(root: &Path, python: &Path, variant: TorchVariant) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(root.join("benches/peers/step.py"));
        Self::start(variant.side(), command)
    }

    /// Starts Taper's program for compiled networks, built by [`build`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn infer(program: &Path) -> Result<Self> {
        Self::start("taper", Command::new(program))
    }

    /// Starts a peer for compiled networks.
    ///
    /// # Errors
    /// If Python cannot be started.
    pub(crate) fn infer_peer(root: &Path, python: &Path, peer: Peer) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(root.join("benches/peers/infer.py")).arg(peer.name());
        Self::start(peer.name(), command)
    }

    fn start(name: &'static str, mut command: Command) -> Result<Self> {
        lead_group(&mut command);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| {
                format!("cannot start {name}: {}", command.get_program().display())
            })?;
        let input = child.stdin.take().context("the child has no input")?;
        let output = BufReader::new(child.stdout.take().context("the child has no output")?);
        Ok(Self { name, child, input, output })
    }

    /// The name of this side.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// If the program has ended, or its response is not JSON.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value> {
        let name = self.name;
        let ended = || format!("{name} ended at request {request}; its error output is above");
        writeln!(self.input, "{request}").with_context(ended)?;
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, ended());
        serde_json::from_str(&line)
            .with_context(|| format!("the response of {name} is not JSON: {line}"))
    }

    /// Sends a request and returns `seconds` of the response.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub(crate) fn seconds(&mut self, request: &Value) -> Result<f64> {
        self.number(request, "seconds")
    }

    /// Sends a request and returns a number of the response.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), or if the response has no number `key`.
    pub(crate) fn number(&mut self, request: &Value, key: &str) -> Result<f64> {
        let answer = self.ask(request)?;
        answer[key]
            .as_f64()
            .with_context(|| format!("the response of {} has no {key}: {answer}", self.name))
    }

    /// Sends a request and returns a list of numbers of the response.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub(crate) fn numbers(&mut self, request: &Value, key: &str) -> Result<Vec<f64>> {
        let answer = self.ask(request)?;
        let numbers = answer[key].as_array().map(|list| list.iter().map(Value::as_f64).collect());
        numbers
            .flatten()
            .with_context(|| format!("the response of {} has no {key}: {answer}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also ends its child processes: a Python module may fork.
        kill_group(&mut self.child);
    }
}

/// Builds a bench target. Returns the path that cargo reports.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn build(root: &Path, target: &str) -> Result<PathBuf> {
    let output = taper_host::cargo()
        .current_dir(root)
        .args(["build", "--release", "--workspace", "--bench", target])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("building the bench {target} failed ({})", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo reported no executable for the bench {target}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, Instant};

    #[test]
    fn child_processes_end_with_their_side() {
        let mut command = Command::new("sh");
        // The child inherits open files, like a fork of Python.
        let script = r#"sleep 600 & while read -r line; do echo "{\"pid\": $!}"; done"#;
        command.args(["-c", script]);
        let mut side = Process::start("a shell", command).expect("starts");
        let pid = side.number(&json!({}), "pid").expect("a number").to_string();
        let is_there = || {
            let said = Command::new("ps").args(["-o", "stat=", "-p", &pid]).output().expect("ps");
            let state = String::from_utf8_lossy(&said.stdout);
            // A zombie has ended.
            !state.trim().is_empty() && !state.starts_with('Z')
        };
        assert!(is_there());
        drop(side);
        let begun = Instant::now();
        while is_there() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{pid} remains");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
