//! Requests to stop: Ctrl-C, and on Unix SIGTERM, which a cluster sends before it kills, and SIGUSR1, which `mpirun` and `srun`
//! forward to what they have started.
//!
//! SIGHUP is left as it is: a run under `nohup` survives the end of its terminal.

use std::{
    io,
    process::{Child, Command},
    time::{Duration, Instant},
};

/// Signals within so long after one are the same request: a cluster signals every process of a job, and a terminal every
/// process in the foreground, while a parent hands its own on.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Tells requests from signals that repeat them.
#[derive(Default)]
struct Requests(Option<Instant>);

impl Requests {
    /// Whether a signal at this time is a request of its own.
    fn is_new(&mut self, at: Instant) -> bool {
        let is_new = self.0.is_none_or(|last| at.duration_since(last) >= ONE_REQUEST);
        if is_new {
            self.0 = Some(at);
        }
        is_new
    }
}

/// Calls `act` at each request to stop, on a thread of its own. At most once in a process.
///
/// # Errors
/// If the system refuses the handler or the thread.
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

/// Calls `act` at each request to stop, on a thread of its own. At most once in a process.
///
/// # Errors
/// If the system refuses the handler.
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

/// Asks a child to stop in order. Where there are no signals nothing is done: a console hands Ctrl-C to all its
/// processes.
pub fn terminate(child: &Child) {
    #[cfg(unix)]
    send(child, nix::sys::signal::Signal::SIGTERM);
    #[cfg(not(unix))]
    let _ = child;
}

/// Asks the ranks that `mpirun` or `srun` has started to stop in order. Both forward SIGUSR1; SIGTERM would end the ranks within
/// a second, or at once.
pub fn terminate_ranks(starter: &Child) {
    #[cfg(unix)]
    send(starter, nix::sys::signal::Signal::SIGUSR1);
    #[cfg(not(unix))]
    let _ = starter;
}

#[cfg(unix)]
fn send(child: &Child, signal: nix::sys::signal::Signal) {
    use nix::{sys::signal, unistd::Pid};
    // One that has ended meanwhile needs no signal.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Has a command start its program as the first of a group of processes, for [`kill_group`]. Ctrl-C at a terminal does not
/// reach that group. Where there are no groups nothing is done.
pub fn lead_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Ends a child at once and waits for it. All processes of the group that it leads end with it: those that it has started,
/// which are not children of this process. Where there are no groups only the child ends.
pub fn kill_group(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(pid) = i32::try_from(child.id()) {
        use nix::{sys::signal, unistd::Pid};
        // While the child has not been waited for, nothing else has its number.
        let _ = signal::killpg(Pid::from_raw(pid), signal::Signal::SIGKILL);
    }
    // Whether it has ended already does not matter any more.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn signals_right_behind_one_are_the_same_request() {
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
        // The shell ends at once in the second case, and what it has started remains.
        for script in ["sleep 600 & echo; wait", "sleep 600 & echo"] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(std::process::Stdio::piped());
            lead_group(&mut command);
            let mut child = command.spawn().expect("starts");
            let mut output = child.stdout.take().expect("output");
            output.read_exact(&mut [0]).expect("it has started the other");
            kill_group(&mut child);
            // It ends with all that may write to it.
            let (done, ended) = std::sync::mpsc::channel();
            std::thread::spawn(move || done.send(output.read(&mut [0]).ok()));
            let end = ended.recv_timeout(Duration::from_secs(60));
            assert_eq!(end, Ok(Some(0)), "something remains of: {script}");
        }
    }
}
