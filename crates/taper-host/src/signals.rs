//! Requests to stop: Ctrl-C, and on Unix also SIGTERM and SIGUSR1. A cluster sends SIGTERM before it kills; `mpirun`
//! and `srun` forward SIGUSR1 to the processes that they have started.
//!
//! SIGHUP is not handled here, so a run under `nohup` survives the end of its terminal.

use std::{
    io,
    process::{Child, Command},
    time::{Duration, Instant},
};

/// Signals within this time after the first are the same request: a cluster signals every process of a job, a terminal
/// signals every process in the foreground, and a parent also forwards its signal.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Distinguishes new requests from repeated signals.
#[derive(Default)]
struct Requests(Option<Instant>);

impl Requests {
    /// Whether a signal at this time is a new request.
    fn is_new(&mut self, at: Instant) -> bool {
        let is_new = self.0.is_none_or(|last| at.duration_since(last) >= ONE_REQUEST);
        if is_new {
            self.0 = Some(at);
        }
        is_new
    }
}

/// Calls `act` at each request to stop, on a separate thread. Call this at most once in a process.
///
/// # Errors
/// If the system rejects the handler or the thread.
#[cfg(unix)]
pub fn on_stop(act: impl Fn() + Send + 'static) -> io::Result<()> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM, SIGUSR1},
        iterator::Signals,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let mut requests = Requests::default();
    let listen = move || {
        signals.forever().filter(|_| requests.is_new(Instant::now())).for_each(|_| act());
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map(|_| ())
}

/// Calls `act` at each request to stop, on a separate thread. Call this at most once in a process.
///
/// # Errors
/// If the system rejects the handler.
#[cfg(not(unix))]
pub fn on_stop(act: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut requests = Requests::default();
    let act = move || {
        if requests.is_new(Instant::now()) {
            act();
        }
    };
    ctrlc::set_handler(act).map_err(io::Error::other)
}

/// Sends a child the request to stop. Does nothing on systems without signals: their console sends Ctrl-C to all its
/// processes.
pub fn terminate(child: &Child) {
    #[cfg(unix)]
    send(child, nix::sys::signal::Signal::SIGTERM);
    #[cfg(not(unix))]
    let _ = child;
}

/// Sends the request to stop to the ranks that `mpirun` or `srun` has started. Both forward SIGUSR1; SIGTERM would end
/// the ranks within a second, or at once.
pub fn terminate_ranks(starter: &Child) {
    #[cfg(unix)]
    send(starter, nix::sys::signal::Signal::SIGUSR1);
    #[cfg(not(unix))]
    let _ = starter;
}

#[cfg(unix)]
fn send(child: &Child, signal: nix::sys::signal::Signal) {
    use nix::{sys::signal, unistd::Pid};
    // A child that has already ended needs no signal.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Makes a command start its program as the leader of a new process group, for [`kill_group`]. Ctrl-C at a terminal
/// does not reach that group. Does nothing on systems without process groups.
pub fn lead_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Kills a child and waits for it. This also kills all other processes of the group that it leads: those that it has
/// started, which are not children of this process. On systems without process groups, only the child is killed.
pub fn kill_group(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(pid) = i32::try_from(child.id()) {
        use nix::{sys::signal, unistd::Pid};
        // The child has not been waited for, so no other process has its id.
        let _ = signal::killpg(Pid::from_raw(pid), signal::Signal::SIGKILL);
    }
    // Whether it has already ended does not matter any more.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn signals_right_after_one_are_the_same_request() {
        let (mut requests, begin) = (Requests::default(), Instant::now());
        let at = |share: f64| begin + ONE_REQUEST.mul_f64(share);
        assert!(requests.is_new(at(0.0)));
        assert!(!requests.is_new(at(0.1)) && !requests.is_new(at(0.9)));
        assert!(requests.is_new(at(1.0)));
        assert!(!requests.is_new(at(1.9)), "counted from the last request");
        assert!(requests.is_new(at(2.0)));
    }

    #[test]
    fn a_child_is_asked_to_stop() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("starts");
        terminate(&child);
        assert_eq!(child.wait().expect("ends").signal(), Some(15));
        terminate(&child);
    }

    #[test]
    fn a_group_ends_with_the_child_that_leads_it() {
        use std::io::Read;
        // In the second case, the shell ends at once, and the process that it has started remains.
        for script in ["sleep 600 & echo; wait", "sleep 600 & echo"] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(std::process::Stdio::piped());
            lead_group(&mut command);
            let mut child = command.spawn().expect("starts");
            let mut output = child.stdout.take().expect("output");
            output.read_exact(&mut [0]).expect("it has started the other");
            kill_group(&mut child);
            // The output ends when no process can write to it.
            let (done, ended) = std::sync::mpsc::channel();
            std::thread::spawn(move || done.send(output.read(&mut [0]).ok()));
            let end = ended.recv_timeout(Duration::from_secs(60));
            assert_eq!(end, Ok(Some(0)), "something remains of: {script}");
        }
    }
}
