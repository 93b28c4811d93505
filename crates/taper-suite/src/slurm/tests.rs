//! Runs scripts with bash, and with stand-ins for the programs of Slurm.

use super::{
    Submission,
    script::{Part, seconds},
};
use anyhow::Result;
use std::{
    fs,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};
use taper_host::Exit;

/// A folder with stand-ins for the programs of Slurm and for `taper`, which record their calls in `calls`.
struct Cluster(tempfile::TempDir);

impl Cluster {
    fn new() -> Self {
        let cluster = Self(tempfile::tempdir().expect("a temporary folder"));
        cluster.program("scontrol", "");
        cluster.program("squeue", "echo RUNNING");
        cluster.program("taper", "");
        // A folder with a name that needs quotes.
        fs::create_dir(cluster.folder()).expect("a folder");
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("it's $HOME")
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path(name);
        let note = r#"printf '%s\n' "${0##*/}" "$@" >>"${0%/*}/calls""#;
        fs::write(&path, format!("#!/bin/bash\n{note}\n{script}\n")).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn submission(&self) -> Submission {
        Submission {
            suite: "./suites/quick".into(),
            name: "quick".into(),
            folder: self.folder(),
            program: self.path("taper"),
            array_size: NonZeroUsize::new(3).expect("not 0"),
            partition: None,
            time: None,
            cpus: None,
            gres: None,
            ranks: NonZeroUsize::MIN,
            sbatch: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Starts a script, as job 1 of array 7.
    fn begin(&self, script: &str) -> Child {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["-c", script]).env("PATH", format!("{}:{path}", self.0.path().display()));
        command.envs([("SLURM_JOB_ID", "8"), ("SLURMD_NODENAME", "node2")]);
        command.envs([("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "1")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash")
    }

    fn run(&self, script: &str) -> Output {
        self.begin(script).wait_with_output().expect("ends")
    }

    fn log(&self) -> String {
        let log = self.folder().join("runs/quick/slurm/7_1.log");
        fs::read_to_string(log).expect("a log")
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, part: &str) {
    let Err(error) = result else { panic!("accepted: {part}") };
    assert_eq!(Exit::of(error.as_ref()), Exit::Usage, "{error:#}");
    assert!(format!("{error:#}").contains(part), "{error:#}");
}

/// Submits the runs and the job that gathers their results. Returns the ids of both.
fn submit(submission: &Submission, cluster: &Cluster) -> Result<(String, String)> {
    let sbatch = cluster.path("sbatch");
    let runs = submission.submit_runs_with(&sbatch)?;
    let results = submission.submit_results_with(&sbatch, &runs)?;
    Ok((runs.job, results))
}

#[test]
fn a_script_has_the_options_of_its_submission() {
    let cluster = Cluster::new();
    let mut submission = cluster.submission();
    let directives = |submission: &Submission| -> Vec<String> {
        let script = submission.script().expect("a script");
        let lines = script.lines().filter_map(|line| line.strip_prefix("#SBATCH "));
        lines.map(str::to_owned).collect()
    };
    let always = [
        "--job-name=taper-quick",
        "--array=0-2",
        "--chdir=/",
        "--output=/dev/null",
        "--requeue",
        "--signal=B:TERM@120",
    ];
    assert_eq!(directives(&submission), always);
    submission.partition = Some("a \"b\\".into());
    submission.time = Some("1-0".into());
    submission.cpus = NonZeroUsize::new(4);
    submission.gres = Some("gpu:1".into());
    submission.sbatch = vec!["--account".into(), "my account".into()];
    let more = [
        r#"--partition="a \"b\\""#,
        "--time=1-0",
        "--cpus-per-task=4",
        "--gres=gpu:1",
        r#"--account "my account""#,
    ];
    assert_eq!(directives(&submission), [&always[..], &more].concat());
    // Room for all ranks of a run.
    let submission =
        Submission { ranks: NonZeroUsize::new(6).expect("not 0"), ..cluster.submission() };
    assert_eq!(directives(&submission), [&always[..], &["--ntasks=6"]].concat());
}

#[test]
fn a_job_runs_its_shard_in_the_folder() {
    let cluster = Cluster::new();
    cluster.program("taper", "pwd; exit 3");
    let mut submission = cluster.submission();
    let odd = ["", "a b", "it's", "\"$HOME\"", "`x`", "\\", "*", "é", "two\nlines", "!", "#", "~"];
    submission.arguments = odd.map(str::to_owned).into();
    let script = submission.script().expect("a script");
    let output = cluster.run(&script);
    assert_eq!(output.status.code(), Some(3), "the code of the program");
    let expected = ["taper", "suite", "run", "./suites/quick", "--shard", "1/3"];
    assert_eq!(cluster.calls().join("\n"), [&expected[..], &odd].concat().join("\n"));
    let folder = cluster.folder().canonicalize().expect("a folder");
    assert!(cluster.log().contains(&format!("\n{}\n", folder.display())), "{}", cluster.log());
    cluster.run(&script);
    assert_eq!(
        cluster.log().matches("begins on node2").count(),
        2,
        "a requeued job continues its log"
    );
}

#[test]
fn a_job_without_a_shared_folder_or_program_reports_it() {
    let cluster = Cluster::new();
    let submission = cluster.submission();
    let other = submission.script_of(Part::Runs, "runs/token").expect("a script");
    let none = Submission { folder: cluster.path("none"), ..submission.clone() };
    let program = Submission { program: cluster.path("no-taper"), ..submission };
    let folder = "node2 is not the folder that the suite was submitted from; put it on a file system that all nodes share";
    let cases = [
        (other, folder),
        (none.script().expect("a script"), folder),
        (program.script().expect("a script"), "no-taper is not a program on node2"),
    ];
    for (n, (script, sentence)) in cases.iter().enumerate() {
        let output = cluster.run(script);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(sentence), "{sentence}");
        let calls = cluster.calls();
        assert_eq!(calls.len(), 4 * (n + 1), "{calls:?}");
        assert_eq!(calls[4 * n..4 * n + 3], ["scontrol", "update", "JobId=8"]);
        assert!(calls[4 * n + 3].starts_with("Comment="), "{calls:?}");
        assert!(calls[4 * n + 3].contains(sentence), "{calls:?}");
    }
}

/// Signals a job during its run, once or twice; returns the calls after that of `taper`.
fn signalled(cluster: &Cluster, signals: usize) -> (Option<i32>, Vec<String>) {
    let script = cluster.submission().script().expect("a script");
    let job = cluster.begin(&script);
    for _ in 0..signals {
        while !cluster.path("begun").exists() {
            sleep(Duration::from_millis(5));
        }
        fs::remove_file(cluster.path("begun")).expect("removes");
        taper_host::terminate(&job);
    }
    let code = job.wait_with_output().expect("ends").status.code();
    let calls = cluster.calls();
    (code, calls.into_iter().skip(6).collect())
}

#[test]
fn a_run_that_a_time_limit_stops_is_requeued() {
    let squeue = ["squeue", "--noheader", "--jobs=7_1", "--format=%T"];
    let requeue = ["scontrol", "requeue", "7_1"];
    let requeued = [&squeue[..], &requeue].concat();
    let takes_signals = |n: usize, code: u8| {
        format!(
            r#"n=0; trap 'n=$((n + 1)); touch "${{0%/*}}/begun"' TERM
            touch "${{0%/*}}/begun"
            until [ $n = {n} ]; do sleep 0.01; done
            sleep 0.1
            exit {code}"#
        )
    };
    let cluster = Cluster::new();
    cluster.program("taper", &takes_signals(1, 130));
    assert_eq!(
        signalled(&cluster, 1),
        (Some(130), requeued.iter().map(|s| s.to_string()).collect())
    );

    let cluster = Cluster::new();
    cluster.program("taper", &takes_signals(2, 130));
    assert_eq!(signalled(&cluster, 2).1, requeued, "stopped twice");

    let cluster = Cluster::new();
    cluster.program("taper", "touch \"${0%/*}/begun\"; while :; do sleep 0.01; done");
    assert_eq!(
        signalled(&cluster, 1),
        (Some(143), requeued.iter().map(|s| s.to_string()).collect())
    );

    for state in ["COMPLETING", "PENDING", ""] {
        let cluster = Cluster::new();
        cluster.program("taper", &takes_signals(1, 130));
        cluster.program("squeue", &format!("echo {state}"));
        assert_eq!(signalled(&cluster, 1).1, squeue, "{state}");
    }

    let cluster = Cluster::new();
    cluster.program("taper", &takes_signals(1, 0));
    assert_eq!(signalled(&cluster, 1), (Some(0), Vec::new()), "it had ended anyway");

    let cluster = Cluster::new();
    cluster.program("taper", "exit 130");
    assert_eq!(signalled(&cluster, 0), (Some(130), Vec::new()), "stopped by somebody else");

    let cluster = Cluster::new();
    cluster.program("taper", &takes_signals(1, 130));
    cluster.program("scontrol", "exit 1");
    assert_eq!(signalled(&cluster, 1).0, Some(130));
    assert!(cluster.log().contains("submit the suite again"), "{}", cluster.log());
}

#[test]
fn both_jobs_are_submitted() {
    let cluster = Cluster::new();
    // Job ids count up from 12, and each script is copied when it is submitted.
    cluster.program(
        "sbatch",
        r#"bin="${0%/*}"; echo >>"$bin/n"; n=$((11 + $(wc -l <"$bin/n"))); cp "${@: -1}" "$bin/$n.sh"; echo Welcome; echo "$n;cluster""#,
    );
    let submission = cluster.submission();
    let submitted = submit(&submission, &cluster).expect("submits");
    assert_eq!(submitted, ("12".to_owned(), "13".to_owned()));
    let calls = cluster.calls();
    assert_eq!(calls[..2], ["sbatch", "--parsable"]);
    assert_eq!(calls[3..6], ["sbatch", "--parsable", "--dependency=afterany:12"]);
    let script = |n: u32| fs::read_to_string(cluster.path(&format!("{n}.sh"))).expect("a script");
    assert!(script(12).contains("\n#SBATCH --array=0-2\n") && script(12).contains("--shard"));
    assert!(!script(13).contains("--array") && !script(13).contains("--shard"));
    fs::remove_file(cluster.path("calls")).expect("removes");
    for (n, run) in [
        (12, &["suite", "run", "./suites/quick", "--shard", "1/3"][..]),
        (13, &["suite", "run", "./suites/quick"]),
    ] {
        assert_eq!(cluster.run(&script(n)).status.code(), Some(0));
        let calls = cluster.calls();
        assert!(
            calls.ends_with(&run.iter().map(|s| s.to_string()).collect::<Vec<_>>()),
            "{calls:?}"
        );
    }
    // A second submission does not disturb jobs of the first.
    submit(&submission, &cluster).expect("submits");
    assert_eq!(cluster.run(&script(12)).status.code(), Some(0));
    fs::rename(cluster.folder().join(&calls[2]), cluster.path("away")).expect("renames");
    assert_eq!(cluster.run(&script(12)).status.code(), Some(2), "another folder");
}

#[test]
fn what_cannot_be_submitted_is_refused() {
    let cluster = Cluster::new();
    let submission = cluster.submission();
    refused(submit(&submission, &cluster), "there is no `sbatch` on this machine");

    let errors =
        "echo 'sbatch: error: invalid partition: x' >&2; echo 'sbatch: error: failed' >&2; exit 1";
    cluster.program("sbatch", errors);
    refused(
        submit(&submission, &cluster),
        "`sbatch` rejects the job: invalid partition: x; failed",
    );
    let left = fs::read_dir(cluster.folder().join("runs/quick/slurm")).expect("a folder");
    assert_eq!(left.count(), 0, "no script without a job");

    cluster.program("sbatch", &format!("[ $# = 2 ] && echo 12 && exit; {errors}"));
    refused(submit(&submission, &cluster), "job 12 executes the runs, but no job gathers");

    cluster.program("sbatch", "cp \"${@: -1}\" \"${0%/*}\"/queued.sh; echo Submitted");
    let error = submit(&submission, &cluster).expect_err("no number");
    assert!(error.to_string().contains("`Submitted`"), "{error}");
    // A job that may be queued keeps its scripts.
    let queued = fs::read_to_string(cluster.path("queued.sh")).expect("a script");
    assert_eq!(cluster.run(&queued).status.code(), Some(0));
}

#[test]
fn what_would_break_a_script_is_refused() {
    let cluster = Cluster::new();
    let submission = cluster.submission();
    let with = |argument: &str| {
        Submission { sbatch: vec![argument.into()], ..submission.clone() }.script()
    };
    for array in ["--array=1-2", "--array", "--arr=3", "-a", "-a1-2"] {
        refused(with(array), "--array-size");
    }
    for other in ["--account=a", "--acctg-freq=1", "-A", "--hold"] {
        with(other).expect("accepted");
    }
    refused(with("a\n#SBATCH --wrap=b"), "more than one line");
    let partition = Some("a\rb".into());
    refused(Submission { partition, ..submission.clone() }.script(), "more than one line");

    let limit = |time: &str, more: &[&str]| {
        let sbatch = more.iter().map(|s| s.to_string()).collect();
        Submission { time: Some(time.into()), sbatch, ..submission.clone() }.script()
    };
    refused(limit("2", &[]), "a time limit of 2 is 120 s");
    limit("2", &["--signal=B:TERM@30"]).expect("accepted");
    limit("2:01", &[]).expect("accepted");

    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = PathBuf::from(OsStr::from_bytes(b"/tmp/\xff"));
    refused(Submission { folder, ..submission }.script(), "not UTF-8");
}

#[test]
fn time_limits_are_read_as_slurm_reads_them() {
    let cases = [
        ("5", 300),
        ("5:30", 330),
        ("1:0:1", 3601),
        ("1-2", 93_600),
        ("1-2:3", 93_780),
        ("1-2:3:4", 93_784),
        ("0", 0),
    ];
    for (time, n) in cases {
        assert_eq!(seconds(time), Some(n), "{time}");
    }
    for time in ["", "UNLIMITED", "1:2:3:4", "1-2:3:4:5", "-1", "1-", "1.5"] {
        assert_eq!(seconds(time), None, "{time}");
    }
    assert_eq!(seconds("18446744073709551615-1"), Some(u64::MAX));
}

#[test]
fn commands_for_the_same_runs_have_their_settings_and_folder() {
    let cluster = Cluster::new();
    let arguments = ["--only=s0.9", "--threads=2", "--set=train.epochs = 3"];
    let arguments = arguments.map(str::to_owned).to_vec();
    let submission = Submission { arguments, ..cluster.submission() };
    let folder = submission.folder.display().to_string().replace('\'', r"'\''");
    assert_eq!(
        submission.command("status").expect("a command"),
        format!(
            "taper suite status ./suites/quick --only=s0.9 '--set=train.epochs = 3' --folder='{folder}'"
        )
    );
}
