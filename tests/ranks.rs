//! Training in several processes (ranks) over MPI: the same bytes for any number of ranks, also after one is killed.
//! `.ci/mpi` builds the program with MPI and runs the ignored tests.

mod support;

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use support::{Folder, bytes, cifar_of_noise, json, run, taper};

/// A batch has four groups of sixteen images; the last batch of an epoch has fewer than eight images.
const DIGITS: &[&str] = &[
    "--epochs=3",
    "--batch-size=64",
    "--sparsity=0.95",
    "--seed=7",
    "--mask-trace",
    "--quiet",
    "--set=train.limit=325",
    "--set=train.checkpoint_every=3",
    "--set=train.keep_best=true",
];

/// An adaptive schedule, permanently pruned weights, and sampled gradients of pruned weights.
const THESIS: &[&str] = &[
    "--set=prune.adapt=reciprocal",
    "--set=prune.adapt_window=3",
    "--set=prune.drop=longest:0.3",
    "--set=prune.pruned_gradient=sampled:0.5",
];

/// Files that must be bit-identical: all except those with times and machines.
const RECORDS: &[&str] = &[
    "pruned.safetensors",
    "pruned-best.safetensors",
    "metrics.csv",
    "steps.jsonl",
    "masks.csv",
    "checkpoints/best.safetensors",
];

/// `taper train` on `size` ranks.
fn on_ranks(size: usize, args: &[&str]) -> Command {
    let alone = taper(&[&["train"], args].concat());
    let mut command = Command::new("mpirun");
    // Allows root, and more ranks than processors.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.args(["--oversubscribe", "-n", &size.to_string()]);
    command.arg(alone.get_program()).args(alone.get_args());
    for (name, value) in alone.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// `taper train` without MPI if `size` is 0, else on `size` ranks.
fn train(size: usize, args: &[&str]) -> Command {
    if size == 0 { taper(&[&["train"], args].concat()) } else { on_ranks(size, args) }
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let said = run(command);
    assert_eq!(said.code, Some(0), "{command:?}\n{}\n{}", said.out, said.err);
    said.err
}

#[track_caller]
fn assert_same(one: &Path, two: &Path) {
    for name in RECORDS {
        let same = bytes(&one.join(name)) == bytes(&two.join(name));
        assert!(same, "{name} of {} and {}", one.display(), two.display());
    }
}

#[test]
#[ignore = "needs an MPI; .ci/mpi runs it"]
fn any_number_of_ranks_and_threads_ends_in_the_same_bytes() {
    let folder = Folder::new();
    let data = cifar_of_noise(&folder);
    let photos = [
        "--model=resnet20@0.25",
        "--data",
        &data,
        "--epochs=2",
        "--batch-size=80",
        "--sparsity=0.9",
        "--mask-trace",
        "--quiet",
        "--set=train.keep_best=true",
    ];
    let cases = [("digits", DIGITS), ("resnet20", &photos[..])];
    for (name, args) in cases {
        for (method, more) in [("feather", &[][..]), ("thesis", THESIS)] {
            let out = |ranks: usize, threads: usize| {
                folder.path(&format!("{name}-{method}-{ranks}-{threads}"))
            };
            for (ranks, threads) in [(0, 2), (1, 1), (2, 1), (2, 2), (4, 1), (4, 2)] {
                let (out, threads) =
                    (out(ranks, threads).display().to_string(), threads.to_string());
                let place = ["--out", &out, "--threads", &threads];
                succeed(&mut train(ranks, &[args, more, &place].concat()));
                assert_same(Path::new(&out), &folder.path(&format!("{name}-{method}-0-2")));
                let segments = &json(&Path::new(&out).join("run.json"))["segments"];
                let of = if ranks > 1 { serde_json::json!(ranks) } else { serde_json::Value::Null };
                assert_eq!(segments[0]["ranks"], of, "{segments}");
            }
        }
    }
}

/// The arguments of a run that is long enough to be killed in the middle.
fn long(out: &str) -> Vec<&str> {
    let args = DIGITS.iter().filter(|arg| !arg.starts_with("--epochs")).copied();
    args.chain(THESIS.iter().copied())
        .chain(["--epochs=150", "--threads=1", "--out", out])
        .collect()
}

/// Waits until the run has written a checkpoint after `step`. Returns the process ids of its ranks.
fn ranks_after(mpirun: &mut Child, out: &Path, step: u64) -> Vec<u32> {
    let begun = Instant::now();
    let name = |step: u64| format!("step-{step:08}.safetensors");
    loop {
        let newest = std::fs::read_dir(out.join("checkpoints")).into_iter().flatten().flatten();
        let newest = newest
            .map(|file| file.file_name().display().to_string())
            .filter(|file| file.starts_with("step-") && *file > name(step));
        if newest.count() > 0 {
            break;
        }
        assert!(mpirun.try_wait().expect("a process").is_none(), "it has ended too early");
        assert!(begun.elapsed() < Duration::from_secs(60), "it writes no checkpoint");
        sleep(Duration::from_millis(5));
    }
    let children = Command::new("pgrep").args(["-P", &mpirun.id().to_string()]).output();
    let children = String::from_utf8(children.expect("pgrep").stdout).expect("numbers");
    children.lines().map(|pid| pid.parse().expect("a number")).collect()
}

/// Whether a process is running. A zombie, which has ended and waits for its parent, does not count.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
#[ignore = "needs an MPI; .ci/mpi runs it"]
fn a_killed_rank_ends_the_others_and_the_run_resumes_with_another_number_of_ranks() {
    let folder = Folder::new();
    let (whole, killed) = (folder.text("whole"), folder.text("killed"));
    succeed(&mut train(0, &long(&whole)));
    let mut resumed = long(&killed);
    resumed.push("--resume");
    for (size, victim, step) in [(2, 1, 20), (4, 0, 300), (3, 2, 600)] {
        let mut mpirun = on_ranks(size, &resumed);
        let mut mpirun = mpirun
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mpirun");
        let ranks = ranks_after(&mut mpirun, Path::new(&killed), step);
        assert_eq!(ranks.len(), size, "{ranks:?}");
        let kill = Command::new("kill").args(["-9", &ranks[victim].to_string()]).status();
        assert!(kill.expect("kill").success());
        let begun = Instant::now();
        let Output { status, stderr, .. } = mpirun.wait_with_output().expect("an end");
        assert!(begun.elapsed() < Duration::from_secs(10), "the other ranks did not end");
        let said = String::from_utf8_lossy(&stderr);
        assert!(!status.success(), "{said}");
        assert!(said.contains(&format!("rank {victim}")), "the rank is not named: {said}");
        for rank in ranks {
            while is_running(rank) {
                assert!(begun.elapsed() < Duration::from_secs(10), "process {rank} still runs");
                sleep(Duration::from_millis(20));
            }
        }
    }
    succeed(&mut train(0, &resumed));
    assert_same(Path::new(&killed), Path::new(&whole));
}

#[test]
#[ignore = "needs an MPI; .ci/mpi runs it"]
fn a_signal_to_one_rank_stops_all_and_the_run_resumes() {
    let folder = Folder::new();
    let (whole, stopped) = (folder.text("whole"), folder.text("stopped"));
    succeed(&mut train(0, &long(&whole)));
    let args = long(&stopped);
    let mut mpirun = on_ranks(2, &args);
    mpirun.env("OMPI_MCA_odls_base_sigkill_timeout", "20");
    let mut mpirun = mpirun.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mpirun");
    let ranks = ranks_after(&mut mpirun, Path::new(&stopped), 50);
    // A signal to one rank stops all ranks.
    let asked = Command::new("kill").args(["-TERM", &ranks[1].to_string()]).status();
    assert!(asked.expect("kill").success());
    let Output { stderr, .. } = mpirun.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&stderr);
    assert!(said.contains("stopped after step"), "{said}");
    succeed(&mut on_ranks(2, &[&args[..], &["--resume"]].concat()));
    assert_same(Path::new(&stopped), Path::new(&whole));
}

#[test]
#[ignore = "needs an MPI; .ci/mpi runs it"]
fn a_suite_stops_its_ranks_with_a_checkpoint_and_resumes_with_another_number() {
    let folder = Folder::new();
    for name in ["one", "many"] {
        std::fs::create_dir_all(folder.path(&format!("{name}/experiments/tiny")))
            .expect("a folder");
        folder.write(
            &format!("{name}/experiments/tiny/suite.toml"),
            "title = 'Tiny'\nsparsities = [0.9]\nseeds = 1\n[[row]]\nname = 'gmp'\n",
        );
        folder.write(
            &format!("{name}/experiments/tiny/gmp.toml"),
            "model = 'digits-cnn'\ndata = 'digits'\n[train]\nepochs = 80\nbatch_size = 64\nlimit = 640\n\
             checkpoint_every = 20\n[prune]\nmethod = 'gmp'\n",
        );
    }
    let suite = |name: &str, more: &[&str]| {
        let mut command = taper(&[&["suite", "run", "tiny", "--threads", "1"], more].concat());
        command.current_dir(folder.path(name));
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command
    };
    let run_of = |name: &str| {
        let runs = std::fs::read_dir(folder.path(&format!("{name}/runs/tiny")));
        let runs = runs.into_iter().flatten().flatten().map(|entry| entry.path());
        runs.into_iter().find(|path| path.is_dir())
    };
    succeed(&mut suite("one", &[]));
    let mut child = suite("many", &["--ranks", "2"]).spawn().expect("a suite");
    let begun = Instant::now();
    while !run_of("many").is_some_and(|run| {
        std::fs::read_dir(run.join("checkpoints")).is_ok_and(|mut files| files.next().is_some())
    }) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint");
        sleep(Duration::from_millis(5));
    }
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(asked.expect("kill").success());
    assert_eq!(child.wait().expect("an end").code(), Some(130), "it was interrupted");
    let many = run_of("many").expect("a run");
    assert!(!many.join("result.json").exists(), "it has ended too early");
    let log = format!("{}.log", many.display());
    let log = String::from_utf8(bytes(Path::new(&log))).expect("text");
    assert!(log.contains("stopped after step"), "{log}");
    succeed(&mut suite("many", &["--ranks", "3"]));
    for name in ["pruned.safetensors", "metrics.csv", "steps.jsonl", "masks.csv"] {
        let one = run_of("one").expect("a run").join(name);
        assert!(bytes(&one) == bytes(&many.join(name)), "{name}");
    }
    let said = run(&mut suite("many", &["--ranks", "5"]));
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("5 ranks are too many for a batch size of 64"), "{}", said.err);
}

#[test]
#[ignore = "needs an MPI; .ci/mpi runs it"]
fn ranks_that_do_not_fit_together_are_refused_in_one_sentence() {
    let folder = Folder::new();
    let out = folder.text("run");
    let refused = |command: &mut Command, parts: &[&str]| {
        let said = run(command);
        assert_eq!(said.code, Some(2), "{}", said.err);
        let errors: Vec<&str> = said.err.lines().filter(|line| line.contains("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", said.err);
        for part in parts {
            assert!(errors[0].contains(part), "`{part}` is not in {}", errors[0]);
        }
        assert!(!Path::new(&out).exists(), "nothing is written");
    };
    let args = [DIGITS, &["--threads=1", "--out", &out]].concat();
    let too_many = ["5 ranks are too many for a batch of 64 images", "at most 4"];
    refused(&mut on_ranks(5, &args), &too_many);
    let unknown = [&args[..], &["--set=prune.pace=2"]].concat();
    refused(&mut on_ranks(2, &unknown), &["prune.pace"]);
    refused(&mut on_ranks(2, &[&args[..], &["--no-such-flag"]].concat()), &["--no-such-flag"]);
    for (more, what) in [
        ("--set=train.lr=0.2", "different experiments"),
        ("--kernels=dense", "values of --kernels"),
    ] {
        let other = on_ranks(1, &[&args[..], &[more]].concat());
        let mut both = on_ranks(1, &args);
        both.arg(":").args(other.get_args());
        refused(&mut both, &["rank 1", what]);
    }
}

#[test]
#[cfg(not(feature = "mpi"))]
fn a_program_without_mpi_does_not_train_the_same_run_twice() {
    let folder = Folder::new();
    let out = folder.text("run");
    let mut command = taper(&["train", "--epochs=1", "--quiet", "--out", &out]);
    command.env("OMPI_COMM_WORLD_SIZE", "2").env("OMPI_COMM_WORLD_RANK", "1");
    let said = run(&mut command);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("built without MPI"), "{}", said.err);
    assert!(!Path::new(&out).exists());
}
