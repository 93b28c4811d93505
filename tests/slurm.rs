//! Suites on a Slurm cluster: nodes are drained or fail, jobs are killed or reach their time limit, and the files are
//! bit-identical to a local run. `.ci/slurm` starts a cluster of two nodes and runs the ignored tests.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};
use support::{
    Folder, bytes, run, skip, taper,
    tutorial::{Part, cached_cifar100, page, parts},
};

/// Four runs of some seconds each, with checkpoints so often that jobs can be killed between two.
const SUITE: &str = "title = 'Tiny'
sparsities = [0.9]
seeds = 2
[[row]]
name = 'feather'
[[row]]
name = 'gmp'
";
const BASE: &str = "model = 'digits-cnn'
data = 'digits'
[train]
epochs = 150
batch_size = 32
lr = 0.05
checkpoint_every = 50
";

/// A folder with the suite `tiny`.
struct Place(Folder);

impl Place {
    fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir_all(folder.path("experiments/tiny")).expect("a folder");
        folder.write("experiments/tiny/suite.toml", SUITE);
        folder.write("experiments/tiny/base.toml", BASE);
        for method in ["feather", "gmp"] {
            let experiment = format!("extends = 'base.toml'\n[prune]\nmethod = '{method}'\n");
            folder.write(&format!("experiments/tiny/{method}.toml"), experiment);
        }
        Self(folder)
    }

    /// `taper suite …` in this folder.
    fn suite(&self, args: &[&str]) -> Command {
        let mut command = taper(&[&["suite"], args].concat());
        command.current_dir(self.0.path(""));
        command
    }

    /// Runs `taper suite …`, which must succeed. Returns its output.
    #[track_caller]
    fn succeed(&self, args: &[&str]) -> String {
        let said = run(&mut self.suite(args));
        assert_eq!(said.code, Some(0), "taper suite {args:?}\n{}\n{}", said.out, said.err);
        said.out
    }

    /// Submits the suite. Returns the ids of the job array and of the job that gathers the results.
    fn submit(&self, args: &[&str]) -> (String, String) {
        self.succeed(&[&["submit", "tiny", "--slurm"], args].concat());
        let newest = |name: &str| {
            let jobs = client("squeue", &["--noheader", "--format=%F", "--name", name]);
            jobs.lines().max_by_key(|job| job.parse::<u64>().ok()).expect("a job").to_owned()
        };
        (newest("taper-tiny"), newest("taper-tiny-results"))
    }

    /// Folders of the runs, sorted by name.
    fn runs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path("runs/tiny")).into_iter().flatten().flatten();
        let folders = entries.map(|entry| entry.path());
        let mut runs: Vec<PathBuf> =
            folders.filter(|path| path.join("run.json").exists()).collect();
        runs.sort();
        runs
    }

    /// Runs with a checkpoint that have not finished.
    fn in_the_middle(&self) -> Vec<PathBuf> {
        let has_checkpoint = |run: &PathBuf| {
            fs::read_dir(run.join("checkpoints")).is_ok_and(|mut files| files.next().is_some())
        };
        let runs = self.runs().into_iter();
        runs.filter(|run| has_checkpoint(run) && !run.join("result.json").exists()).collect()
    }

    /// Waits until `n` runs, not counting those in `but`, have a checkpoint and have not finished. Returns these runs.
    fn wait_for_runs(&self, n: usize, but: &[PathBuf]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        wait(&format!("{n} runs in the middle"), || {
            found = self.in_the_middle();
            found.retain(|run| !but.contains(run));
            found.len() >= n
        });
        found
    }

    /// The output of the jobs, for messages of failures.
    fn logs(&self) -> String {
        let files = fs::read_dir(self.0.path("runs/tiny/slurm")).into_iter().flatten().flatten();
        let texts = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default());
        texts.filter(|text| !text.starts_with("#!")).collect::<Vec<_>>().join("\n")
    }

    /// Waits for the job that gathers the results, and compares all runs with those of another folder.
    fn finish(&self, results: &str, local: &Self) {
        wait("the results", || is_in(results, "COMPLETED"));
        let status = self.succeed(&["status", "tiny"]);
        assert!(status.contains("4 finished\n"), "{status}\n{}", self.logs());
        let made = fs::read_dir(self.0.path("results")).expect("results").flatten();
        let made: Vec<PathBuf> = made.map(|entry| entry.path()).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let runs = fs::read_to_string(made[0].join("runs.csv")).expect("runs.csv");
        assert_eq!(runs.lines().count(), 5, "{runs}");
        let (ours, theirs) = (self.runs(), local.runs());
        assert_eq!(ours.len(), 4, "{ours:?}");
        for (one, two) in ours.iter().zip(&theirs) {
            assert_eq!(one.file_name(), two.file_name());
            assert_same(one, two);
        }
    }
}

/// Compares all files of two run folders except those that contain times or the machine.
#[track_caller]
fn assert_same(one: &Path, two: &Path) {
    let (names, others) = (files(one, ""), files(two, ""));
    assert_eq!(names, others, "{}", one.display());
    for name in ["pruned.safetensors", "metrics.csv", "steps.jsonl", "masks.csv"] {
        assert!(names.iter().any(|other| other == name), "{name} is not in {names:?}");
    }
    for name in names {
        if !["timing.csv", "result.json", "run.json"].contains(&name.as_str()) {
            let same = bytes(&one.join(&name)) == bytes(&two.join(&name));
            assert!(same, "{name} of {} differs", one.display());
        }
    }
}

/// Files of a folder and its subfolders, sorted.
fn files(folder: &Path, before: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = format!("{before}{}", entry.file_name().display());
        match entry.path().is_dir() {
            true => names.extend(files(&entry.path(), &format!("{name}/"))),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

/// Runs a program, which must succeed. Returns its output.
#[track_caller]
fn client(program: &str, args: &[&str]) -> String {
    let said = run(Command::new(program).args(args));
    assert_eq!(said.code, Some(0), "{program} {args:?}\n{}", said.err);
    said.out
}

/// The description of a job by `scontrol`.
#[track_caller]
fn job(id: &str) -> String {
    client("scontrol", &["show", "job", id])
}

#[track_caller]
fn is_in(id: &str, state: &str) -> bool {
    job(id).contains(&format!("JobState={state}"))
}

/// Waits until `is_so` returns true; fails after five minutes.
#[track_caller]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        let jobs = || client("squeue", &[]);
        assert!(start.elapsed() < Duration::from_secs(300), "no sign of {what}\n{}", jobs());
        sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn set_node(node: &str, state: &str) {
    let (node, state) = (format!("NodeName={node}"), format!("State={state}"));
    client("scontrol", &["update", &node, &state, "Reason=test"]);
}

/// Kills all processes of a job at once. Slurm itself cannot: it sends SIGTERM first, or kills only the shell.
#[track_caller]
fn kill(id: &str) {
    let said = job(id);
    let number = said.split_whitespace().find_map(|word| word.strip_prefix("JobId="));
    let cluster = format!("SLURM_CONF={}", std::env::var("SLURM_CONF").expect("a cluster"));
    let marks = [format!("SLURM_JOB_ID={}", number.expect("a number")), cluster];
    let is_of_job = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let has =
            |mark: &String| environment.split(|byte| *byte == 0).any(|v| v == mark.as_bytes());
        marks.iter().all(has)
    };
    let processes = fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    let of_job: Vec<PathBuf> = processes.filter(is_of_job).collect();
    let ids = of_job.iter().filter_map(|process| process.file_name()?.to_str());
    client("kill", &[&["-KILL"], &ids.collect::<Vec<_>>()[..]].concat());
}

/// Waits until a job is requeued, and starts it without Slurm's delay of two minutes.
#[track_caller]
fn begin_again(id: &str) {
    wait(&format!("{id} in the queue again"), || {
        let job = job(id);
        job.contains("JobState=PENDING") && !job.contains("Restarts=0")
    });
    // Not at once: in the second in which a job ended, its node rejects it.
    client("scontrol", &["update", &format!("JobId={id}"), "StartTime=now+3"]);
}

#[test]
#[ignore = "needs a Slurm cluster of two nodes; .ci/slurm starts one"]
fn a_suite_ends_in_the_bytes_of_a_local_run_after_failures_of_nodes_and_jobs() {
    let local = Place::new();
    local.succeed(&["run", "tiny"]);

    // One job for each run; a node runs one job at a time.
    let place = Place::new();
    let (array, results) = place.submit(&["--array-size", "4"]);
    let task = |i: usize| format!("{array}_{i}");
    let first = place.wait_for_runs(2, &[]);
    // On a drained node, the running job continues, and no other job starts.
    set_node("node2", "DRAIN");
    let on_first = usize::from(!job(&task(0)).contains("BatchHost=node1"));
    let is_left = |run: &PathBuf| !run.join("result.json").exists();
    kill(&task(on_first));
    wait("the end of a job that was killed", || is_in(&task(on_first), "FAILED"));
    let killed = job(&task(on_first));
    assert!(killed.contains("Restarts=0") && killed.contains("ExitCode=0:9"), "{killed}");
    assert!(first.iter().any(is_left), "killed too late");
    // Slurm requeues a job whose node fails.
    let second = place.wait_for_runs(1, &first);
    let third = if is_in(&task(2), "RUNNING") { task(2) } else { task(3) };
    assert!(job(&third).contains("BatchHost=node1"), "{}", job(&third));
    set_node("node1", "DOWN");
    assert!(second.iter().all(is_left), "failed too late");
    set_node("node2", "RESUME");
    begin_again(&third);
    set_node("node1", "RESUME");
    place.finish(&results, &local);

    // One job for all runs, stopped by its time limit: Slurm sends the signal at once, because 120 s exceed the limit.
    let place = Place::new();
    let limit = ["--array-size", "1", "--time", "1", "--", "--signal=B:TERM@120"];
    let (array, results) = place.submit(&limit);
    let task = format!("{array}_0");
    begin_again(&task);
    let n_begun = place.runs().len();
    assert!((1..=4).contains(&n_begun), "{n_begun}");
    let mut restarts = 1;
    wait("the results", || {
        let now = job(&task);
        // The remaining runs may reach the limit, too.
        if now.contains("Reason=BeginTime") && !now.contains(&format!("Restarts={restarts} ")) {
            restarts += 1;
            begin_again(&task);
        }
        is_in(&results, "COMPLETED")
    });
    assert!(is_in(&task, "COMPLETED"), "{}", job(&task));
    place.finish(&results, &local);
}

/// One run of the suite on two nodes with one processor each. `.ci/mpi` runs this test.
#[test]
#[cfg(feature = "mpi")]
#[ignore = "needs a Slurm cluster of two nodes; .ci/slurm starts one"]
fn ranks_of_a_job_train_one_run_on_both_nodes() {
    let chosen = ["--only", "gmp*seed0", "--set", "train.epochs=60", "--seeds", "1"];
    let local = Place::new();
    local.succeed(&[&["run", "tiny"], &chosen[..]].concat());
    let place = Place::new();
    let ranks = [&chosen[..], &["--array-size", "1", "--ranks", "2"]].concat();
    let (array, results) = place.submit(&ranks);
    let task = format!("{array}_0");
    // SIGTERM, as near the time limit: all ranks write a checkpoint and end, and the job is requeued.
    place.wait_for_runs(1, &[]);
    let of_job = job(&task);
    assert!(of_job.contains("NumNodes=2"), "{of_job}");
    client("scancel", &["--signal=TERM", "--batch", &task]);
    wait("the end of the ranks", || place.logs().contains("exit code 130, 1 signals"));
    let log = fs::read_dir(place.0.path("runs/tiny")).expect("runs").flatten();
    let log = log.map(|file| file.path()).find(|path| path.extension().is_some_and(|e| e == "log"));
    let log = fs::read_to_string(log.expect("a log")).expect("text");
    assert!(log.contains("stopped after step"), "{log}");
    begin_again(&task);
    wait("the results", || is_in(&results, "COMPLETED"));
    let (ours, theirs) = (place.runs(), local.runs());
    assert_eq!([ours.len(), theirs.len()], [1; 2], "{}", place.logs());
    assert_same(&ours[0], &theirs[0]);
    let record = String::from_utf8(bytes(&ours[0].join("run.json"))).expect("text");
    assert!(record.contains("\"ranks\": 2"), "{record}");
}

#[test]
#[ignore = "needs a Slurm cluster of two nodes; .ci/slurm starts one"]
fn a_job_that_somebody_cancels_stays_cancelled() {
    let place = Place::new();
    let (array, results) = place.submit(&["--array-size", "1"]);
    place.wait_for_runs(1, &[]);
    client("scancel", &[&results, &array]);
    let task = format!("{array}_0");
    wait("the end of the job", || place.logs().contains("exit code 130"));
    wait("the end of the job", || is_in(&task, "CANCELLED"));
    assert!(job(&task).contains("Restarts=0"), "{}", job(&task));
}

#[test]
#[ignore = "needs a Slurm cluster of two nodes; .ci/slurm starts one"]
fn a_folder_that_nodes_do_not_share_is_an_error() {
    let place = Place::new();
    let (array, results) = place.submit(&["--array-size", "1", "--", "--hold"]);
    // The folder is renamed: for the job, it does not exist.
    let (folder, away) = (place.0.path(""), Folder::new());
    fs::rename(&folder, away.path("away")).expect("renames");
    client("scontrol", &["release", &array]);
    wait("the end of the job", || is_in(&array, "FAILED"));
    fs::rename(away.path("away"), &folder).expect("renames");
    client("scancel", &[&results]);
    let job = job(&array);
    assert!(job.contains("ExitCode=2:0"), "{job}");
    assert!(
        job.contains("is not the folder that the suite was submitted from; put it on a file system that all nodes share"),
        "{job}"
    );
}

#[test]
#[ignore = "needs a Slurm cluster of two nodes; .ci/slurm starts one"]
fn an_error_of_slurm_is_printed_as_it_is() {
    let place = Place::new();
    let args = ["submit", "tiny", "--slurm", "--partition", "no such"];
    let said = run(&mut place.suite(&args));
    assert_eq!(said.code, Some(2), "{}\n{}", said.out, said.err);
    assert!(said.err.contains("error: `sbatch` rejects the job: "), "{}", said.err);
    assert!(said.err.contains("Invalid partition name specified"), "{}", said.err);
}

#[test]
fn a_machine_without_slurm_prints_the_script() {
    let place = Place::new();
    let args = ["submit", "tiny", "--slurm", "--array-size", "3"];
    let said = run(place.suite(&args).env("PATH", ""));
    assert_eq!(said.code, Some(2), "{}\n{}", said.out, said.err);
    assert!(said.err.contains("error: there is no `sbatch` on this machine"), "{}", said.err);
    let script = place.succeed(&[&args[..], &["--print"]].concat());
    assert!(script.contains("\n#SBATCH --array=0-2\n"), "{script}");
    let said = run(Command::new("bash").args(["-n", "-c", &script]));
    assert_eq!(said.code, Some(0), "{}\n{script}", said.err);
}

#[test]
#[ignore = "needs a Slurm cluster of two nodes of its own, which .ci/slurm starts"]
fn the_tutorial_is_followed_on_a_cluster() {
    let folder = Folder::new();
    if !cached_cifar100(&folder.path("hf")) {
        return skip("CIFAR-100 is not on this machine, so the tutorial about it is not followed");
    }
    fs::create_dir(folder.path("compare")).expect("a folder");
    let mut commands = Vec::new();
    for part in parts(&page("compare.md")) {
        match part {
            Part::File(name, content) => drop(folder.write(&name, content)),
            Part::Slurm(script) => commands.push(script),
            Part::Run(_) | Part::Long(_) => {}
        }
    }
    let [command] = &commands[..] else { panic!("one command for Slurm, not {commands:?}") };
    // A few steps on a few images, and the smallest part of the suite.
    let short = "--only s0.9- --seeds 1 --set train.max_steps=2 --set train.limit=256";
    let args = command.trim().strip_prefix("taper ").expect("a command of taper");
    let args: Vec<&str> = args.split(' ').chain(short.split(' ')).collect();
    let mut submit = taper(&args);
    submit
        .current_dir(folder.path(""))
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", folder.path("hf"));
    let said = run(&mut submit);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let jobs = client("squeue", &["--noheader", "--format=%F", "--name", "taper-compare-results"]);
    let results = jobs.lines().max_by_key(|job| job.parse::<u64>().ok()).expect("a job").to_owned();
    wait("the results", || is_in(&results, "COMPLETED"));
    let made = fs::read_dir(folder.path("results")).expect("results").flatten().next();
    let runs =
        fs::read_to_string(made.expect("a folder").path().join("runs.csv")).expect("runs.csv");
    assert_eq!(runs.lines().count(), 4, "{runs}");
}
