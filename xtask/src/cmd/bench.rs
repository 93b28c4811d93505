//! `cargo xtask bench [SUITE…]`: measures speed, optionally compared with peers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::bench::suite::{
    Compiled, INFER, InRanks, Kernels, METHODS, Methods, Networks, RANKS, load,
};
use crate::bench::{Peer, Process, REST, Table, TorchVariant, infer, judge, methods, ranks};
use crate::provenance;
use taper_host::{Exit, Usage, machine};
use taper_record::results::{Made, ManifestHead, ResultsKind, ToolVersions};
use taper_record::{rows, write_file};
use taper_report::{format, stats::median};
use taper_suite::{Utc, Verdict, matches, place, summary};

/// All suites, in order.
const SUITES: [&str; 8] = ["cut", "kernels", "step", "eval", "zoo", METHODS, INFER, RANKS];
/// The first suites of the list run by default.
const N_DEFAULT: usize = 5;
/// The suites that can be profiled.
const PROFILED: [&str; 3] = ["step", "zoo", INFER];
/// The suite of single convolutions. Its rows have no floors.
const KERNELS: &str = "kernels";

/// Default number of CPU threads of each side.
pub(crate) const THREADS: u64 = 2;
/// Default number of timed repetitions.
pub(crate) const ROUNDS: u64 = 9;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Suites to run [default: all except methods, infer and ranks]
    #[arg(value_parser = SUITES)]
    pub(crate) suites: Vec<String>,
    /// Compare with this tool, measured in turn: onnxruntime or openvino for infer, none for methods and ranks, torch
    /// for the other suites
    #[arg(long = "peer", value_enum, value_name = "PEER")]
    pub(crate) peers: Vec<Peer>,
    /// A Python with the peers, and with safetensors (for torch) or numpy (for the others)
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "peers")]
    pub(crate) python: PathBuf,
    /// Also print the time of training steps by kind of work, and of compiled networks by layer
    #[arg(long)]
    pub(crate) profile: bool,
    /// CPU threads of each side; the rows of infer set their own number
    #[arg(long, value_name = "N", default_value_t = THREADS, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: u64,
    /// Timed repetitions; tables show the median
    #[arg(long, value_name = "N", default_value_t = ROUNDS, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) rounds: u64,
    /// Only rows with PATTERN in them, such as zoo, 'live*98' or 'step: dense'
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Option<String>,
    /// Where to write [default: results/DATE-HOST-bench]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

impl Args {
    /// Whether a row of a suite is to be measured.
    fn chooses(&self, suite: &str, row: &str) -> bool {
        let pattern = self.only.as_deref().unwrap_or_default();
        matches(pattern, &format!("{suite}: {row}"))
    }

    /// Names of the chosen rows of some suites, with their floors.
    fn rows(&self, root: &Path, suites: &[String]) -> Result<Vec<(String, Option<f64>)>> {
        let mut rows: Vec<(String, Option<f64>)> = Vec::new();
        for name in suites {
            if name == KERNELS {
                let suite: Kernels = load(root, name)?;
                let chosen = suite.shapes.iter().filter(|shape| self.chooses(name, &shape.label));
                rows.extend(chosen.map(|shape| (format!("{name}: {}", shape.label), None)));
            } else if name == INFER {
                let suite: Compiled = load(root, name)?;
                let chosen = suite.rows.iter().filter(|row| self.chooses(name, &row.name()));
                rows.extend(chosen.map(|row| (format!("{name}: {}", row.name()), row.floor)));
            } else if name == RANKS {
                let suite: InRanks = load(root, name)?;
                let chosen = suite.rows.iter().filter(|row| self.chooses(name, &row.name()));
                rows.extend(chosen.map(|row| (format!("{name}: {}", row.name()), row.floor)));
            } else if name == METHODS {
                let suite: Methods = load(root, name)?;
                let chosen = suite.rows.iter().filter(|row| self.chooses(name, &row.name()));
                rows.extend(chosen.map(|row| (format!("{name}: {}", row.name()), row.floor)));
            } else {
                let suite: Networks = load(root, name)?;
                let chosen = suite.rows.iter().filter(|row| self.chooses(name, &row.name()));
                rows.extend(chosen.map(|row| (format!("{name}: {}", row.name()), row.floor)));
            }
        }
        Ok(rows)
    }
}

/// Fails if the pattern matches no row.
fn expect_rows(rows: &[(String, Option<f64>)], args: &Args) -> Result<()> {
    let pattern = args.only.as_deref().unwrap_or_default();
    let message = || Usage::new(format!("--only '{pattern}' matches no row; pass another pattern"));
    ensure!(!rows.is_empty(), message());
    Ok(())
}

/// Measures the suites, prints and writes the tables. The exit code says whether a ratio is below its floor.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let begun = Utc::now();
    let all = SUITES.map(String::from);
    let suites = if args.suites.is_empty() { &all[..N_DEFAULT] } else { &args.suites };
    ensure!(
        !args.profile || suites.iter().any(|suite| PROFILED.contains(&suite.as_str())),
        Usage::new("--profile applies only to the suites step, zoo and infer; leave it out")
    );
    if let Some(peer) = args.peers.iter().find(|peer| !suites.iter().any(|s| peer.fits(s))) {
        let (peer, suites) = (peer.name(), suites.join(", "));
        bail!(Usage::new(format!("--peer {peer} does not apply to {suites}; leave it out")));
    }
    expect_rows(&args.rows(root, suites)?, args)?;
    // Checked before anything is measured.
    folder(root, args, &begun)?;
    let (mut document, mut measured) = (String::new(), Vec::new());
    let mut verdicts: Vec<Verdict> = Vec::new();
    for suite in suites {
        for (title, table) in tables(root, args, suite)? {
            let text = table.markdown(title);
            println!("{text}");
            document += &text;
            verdicts.extend(table.verdicts);
            let lines = std::iter::once(&table.columns).chain(&table.rows);
            measured
                .push((format!("{}.csv", title.replace([' ', ','], "-")), rows::of_cells(lines)?));
        }
    }
    let head = ManifestHead {
        schema: 1,
        kind: ResultsKind::Bench,
        title: "Speed, side by side".into(),
        made: Made {
            date: begun.timestamp(),
            command: std::env::args()
                .skip(1)
                .fold("cargo xtask".to_owned(), |all, arg| all + " " + &arg),
            commit: provenance::commit(root),
            dirty: provenance::dirty(root),
            machine: machine(),
            versions: ToolVersions { rustc: provenance::rustc(), ..ToolVersions::default() },
        },
    };
    let mut manifest = serde_json::to_value(head)?;
    let settings =
        [("peer", peers(args)), ("threads", args.threads.into()), ("rounds", args.rounds.into())];
    settings.into_iter().for_each(|(key, value)| manifest[key] = value);
    // Chosen again: another process may have written results meanwhile.
    let folder = folder(root, args, &begun)?;
    write_file(&folder.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    for (name, lines) in measured {
        write_file(&folder.join(name), lines.as_bytes())?;
    }
    write_file(&folder.join("summary.md"), document.as_bytes())?;
    for reason in verdicts.iter().flat_map(Verdict::reasons) {
        println!("{reason}");
    }
    let exit = match verdicts.iter().any(|verdict| matches!(verdict, Verdict::Fail(_))) {
        true => Exit::Missed,
        false => Exit::Done,
    };
    let has_passed = exit == Exit::Done;
    println!("{}\n\nwrote {}", summary::sentence(&verdicts, has_passed), folder.display());
    Ok(exit.into())
}

/// Measures a suite. Returns its tables with titles.
fn tables<'a>(root: &Path, args: &Args, suite: &'a str) -> Result<Vec<(&'a str, Table)>> {
    let mut table = Table::default();
    match suite {
        INFER => return compiled(root, args).map(Vec::from),
        RANKS => {
            let suite: InRanks = load(root, RANKS)?;
            let is_chosen = |row: &str| args.chooses(RANKS, row);
            return ranks::tables(root, args.threads, args.rounds, &suite, is_chosen)
                .map(Vec::from);
        }
        KERNELS => kernels(root, args, &mut table)?,
        METHODS => table = compared(root, args)?,
        name => networks(root, args, name, &mut table)?,
    }
    Ok(vec![(suite, table)])
}

/// The peers in the manifest: their Python and versions.
fn peers(args: &Args) -> Value {
    if args.peers.is_empty() {
        return Value::Null;
    }
    let mut said = json!({ "python": args.python });
    for peer in &args.peers {
        said[peer.name()] = json!(peer.version(&args.python));
    }
    said
}

/// The suite of compiled networks.
fn compiled(root: &Path, args: &Args) -> Result<[(&'static str, Table); 2]> {
    let suite: Compiled = load(root, INFER)?;
    let settings = infer::InferSettings {
        root,
        python: &args.python,
        peers: args.peers.iter().copied().filter(|peer| peer.fits(INFER)).collect(),
        rounds: args.rounds,
        profile: args.profile,
    };
    infer::tables(&settings, &suite, |row| args.chooses(INFER, &row.name()))
}

/// The suite of pruning methods.
fn compared(root: &Path, args: &Args) -> Result<Table> {
    let settings = methods::MethodSettings { root, threads: args.threads, rounds: args.rounds };
    let suite: Methods = load(root, METHODS)?;
    methods::table(&settings, &suite, |row| args.chooses(METHODS, &row.name()))
}

/// Creates the folder of the results.
fn folder(root: &Path, args: &Args, begun: &Utc) -> Result<PathBuf> {
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => {
            let part = match &args.only {
                Some(_) => Some("part".to_owned()),
                None => (!args.suites.is_empty()).then(|| args.suites.join("-")),
            };
            place::of_bench(root, &begun.date(), part.as_deref())
        }
    };
    // Tables are CSV files with the names of their titles, which are known only after measuring.
    let is_table = |path: &PathBuf| path.extension().is_some_and(|end| end == "csv");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let table = || entries.map(|entry| entry.path()).find(is_table);
    if let Some(file) = place::in_the_way(&folder).or_else(table) {
        bail!(Usage::new(format!("{} exists already; pass another --out", file.display())));
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Starts a variant of the PyTorch peer, if PyTorch is a peer.
fn torch(root: &Path, args: &Args, variant: TorchVariant) -> Result<Option<Process>> {
    let is_wanted = args.peers.contains(&Peer::Torch);
    is_wanted.then(|| Process::torch(root, &args.python, variant)).transpose()
}

/// A side of a comparison of networks.
struct ComparedSide {
    process: Process,
    /// `None` for Taper.
    variant: Option<TorchVariant>,
    /// Seconds of the current row.
    times: Vec<f64>,
    /// The reason if this side cannot run the current row.
    missing: Option<String>,
}

impl ComparedSide {
    fn new(process: Process, variant: Option<TorchVariant>) -> Self {
        Self { process, variant, times: Vec::new(), missing: None }
    }

    /// Opens a network.
    fn open(&mut self, open: &Value, update: Option<&Value>) -> Result<()> {
        let mut open = open.clone();
        match self.variant {
            Some(variant) => open["variant"] = variant.name().into(),
            None => open["update"] = update.cloned().unwrap_or_else(|| "exact".into()),
        }
        let answer = self.process.ask(&open)?;
        self.missing = answer["missing"].as_str().map(str::to_owned);
        self.times.clear();
        Ok(())
    }

    /// The median time in seconds, if something was measured.
    fn median(&self) -> Option<f64> {
        (!self.times.is_empty()).then(|| median(self.times.clone()))
    }
}

/// A suite of whole networks.
fn networks(root: &Path, args: &Args, name: &str, table: &mut Table) -> Result<()> {
    let suite: Networks = load(root, name)?;
    let what = if name == "zoo" { "step" } else { name };
    let folder = tempfile::tempdir()?;
    let weights = folder.path().join("weights.safetensors");
    let mut sides = vec![ComparedSide::new(Process::taper(root)?, None)];
    for &variant in TorchVariant::of(name) {
        sides.extend(
            torch(root, args, variant)?.map(|torch| ComparedSide::new(torch, Some(variant))),
        );
    }
    let has_peers = sides.len() > 1;
    let unit = if name == "cut" { "ms" } else { "images/s" };
    table.columns = ["what", "sparsity"].map(String::from).to_vec();
    table.columns.extend(sides.iter().map(|side| format!("{}, {unit}", side.process.name())));
    if has_peers {
        table.columns.extend(["ratio", "floor", "verdict"].map(String::from));
        let fastest = "*ratio*: relative to the fastest peer.";
        table.notes.push(fastest.into());
    }
    let show = |seconds: f64| match name {
        "cut" => format!("{:.2}", seconds * 1e3),
        _ => format!("{:.0}", suite.batch as f64 / seconds),
    };
    for row in suite.rows.iter().filter(|row| args.chooses(name, &row.name())) {
        let model = row.model.as_ref().unwrap_or(&suite.model);
        let request =
            json!({ "do": "weights", "model": model, "sparsity": row.sparsity, "path": weights });
        sides[0].process.ask(&request)?;
        let open = json!({
            "do": "open", "model": model, "threads": args.threads, "batch": suite.batch,
            "sparsity": row.sparsity, "weights": weights,
        });
        for side in &mut sides {
            side.open(&open, row.update.as_ref()).with_context(|| row.name())?;
            if let Some(reason) = &side.missing {
                let side = side.process.name();
                table.notes.push(format!("{side} cannot run {}: {reason}", row.name()));
            }
        }
        let request = json!({ "do": what });
        // Two warm-up rounds, for caches and kernel choices.
        for round in 0..args.rounds + 2 {
            for side in sides.iter_mut().filter(|side| side.missing.is_none()) {
                std::thread::sleep(REST);
                let seconds = side.process.seconds(&request).with_context(|| row.name())?;
                if round >= 2 {
                    side.times.push(seconds);
                }
            }
        }
        let mut cells = vec![row.label.clone(), format::percent_short(row.sparsity)];
        cells.extend(sides.iter().map(|side| side.median().map_or("–".into(), show)));
        if has_peers {
            let ours = sides[0].median().unwrap_or(f64::NAN);
            let fastest =
                sides[1..].iter().filter_map(ComparedSide::median).fold(f64::NAN, f64::min);
            let ratio = fastest / ours;
            let floor = row.floor.map_or(String::new(), |floor| format!("{floor}"));
            let verdict = judge(&format!("{name}: {}", row.name()), ratio, row.floor);
            cells.extend([format!("{ratio:.2}"), floor, verdict.word().into()]);
            table.verdicts.push(verdict);
        }
        table.rows.push(cells);
        if args.profile && what == "step" {
            let found = sides[0].process.ask(&json!({ "do": "profile", "steps": 5 }))?;
            table.notes.push(profile(&row.name(), &found)?);
        }
    }
    for side in &mut sides {
        // Some systems do not report it.
        if let Some(bytes) = side.process.ask(&json!({ "do": "memory" }))?["bytes"].as_f64() {
            let name = side.process.name();
            table.notes.push(format!("Peak memory of {name}: {}.", format::bytes(bytes)));
        }
    }
    Ok(())
}

/// The comparisons of the suite `speed`, one line for each.
///
/// # Errors
/// If a suite is not valid, or the pattern matches no row.
pub(crate) fn cells(root: &Path, args: &Args) -> Result<Vec<String>> {
    let compared: Vec<String> = SUITES[..N_DEFAULT]
        .iter()
        .filter(|name| **name != KERNELS)
        .map(ToString::to_string)
        .collect();
    let rows = args.rows(root, &compared)?;
    expect_rows(&rows, args)?;
    let floor = |floor: Option<f64>| floor.map_or("no band".into(), |f| format!("at least {f}"));
    Ok(rows.into_iter().map(|(name, least)| format!("{name}: {}", floor(least))).collect())
}

/// A line with the milliseconds of a step by kind of work.
fn profile(of: &str, found: &Value) -> Result<String> {
    let (total, works) = (found["seconds"].as_f64(), found["works"].as_object());
    let (total, works) = total.zip(works).context("no profile")?;
    let mut rest = total;
    let mut parts: Vec<String> = works
        .iter()
        .filter_map(|(work, seconds)| Some((work, seconds.as_f64()?)))
        .map(|(work, seconds)| {
            rest -= seconds;
            format!("{work} {:.1}", seconds * 200.0)
        })
        .collect();
    parts.push(format!("rest {:.1}", rest * 200.0));
    Ok(format!("Milliseconds a step, {of}: {:.1} = {}.", total * 200.0, parts.join(" + ")))
}

/// The suite of single convolutions, dense and sparse. Each is compared once with the specification.
fn kernels(root: &Path, args: &Args, table: &mut Table) -> Result<()> {
    let suite: Kernels = load(root, KERNELS)?;
    let (mut taper, mut torch) = (Process::taper(root)?, torch(root, args, TorchVariant::Tuned)?);
    let sgemm = match &mut torch {
        Some(torch) => {
            torch.ask(&json!({ "do": "sgemm", "threads": args.threads }))?["flops"].as_f64()
        }
        None => None,
    };
    table.columns = ["layer", "direction", "dense, ms", "GFLOP/s"].map(String::from).to_vec();
    if let Some(flops) = sgemm {
        table.columns.push("of sgemm".into());
        table.notes.push(format!("sgemm (torch, 2048³): {:.0} GFLOP/s.", flops / 1e9));
    }
    table.columns.extend(
        suite.densities.iter().map(|d| format!("{}: ms (times dense)", format::percent_short(*d))),
    );
    for shape in &suite.shapes {
        if !args.chooses(KERNELS, &shape.label) {
            continue;
        }
        for direction in ["forward", "input", "weight"] {
            let mut time = |density: f64, is_sparse: bool| -> Result<(f64, f64)> {
                let mut request = serde_json::to_value(shape)?;
                request["do"] = "kernel".into();
                request["density"] = density.into();
                request["direction"] = direction.into();
                request["is_sparse"] = is_sparse.into();
                request["threads"] = args.threads.into();
                request["rounds"] = args.rounds.into();
                let answer = taper.ask(&request)?;
                let numbers = answer["seconds"].as_f64().zip(answer["dense_flop"].as_f64());
                numbers.with_context(|| format!("no time in {answer}"))
            };
            let (dense, flop) = time(1.0, false)?;
            ensure!(dense > 0.0, "the measured time is 0; the clock is too coarse");
            let mut cells = vec![
                shape.label.clone(),
                direction.into(),
                format!("{:.2}", dense * 1e3),
                format!("{:.0}", flop / dense / 1e9),
            ];
            if let Some(sgemm) = sgemm {
                cells.push(format!("{:.0} %", flop / dense / sgemm * 100.0));
            }
            for &density in &suite.densities {
                let (sparse, _) = time(density, true)?;
                cells.push(format!("{:.2} ({:.1})", sparse * 1e3, dense / sparse));
            }
            table.rows.push(cells);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comparison_is_listed() {
        let args = |only: Option<&str>| Args {
            suites: Vec::new(),
            peers: Vec::new(),
            python: PathBuf::new(),
            profile: false,
            threads: THREADS,
            rounds: ROUNDS,
            only: only.map(str::to_owned),
            out: None,
        };
        let cells = |only: Option<&str>| cells(&crate::taper::repository(), &args(only));
        let lines = cells(None).expect("valid suites");
        assert!(lines.iter().any(|l| l.starts_with("step") && l.ends_with("at least 1.7")));
        assert!(lines.iter().any(|l| l.starts_with("eval") && l.ends_with("no band")));
        for (only, n) in [("zoo", 8), ("live*98", 3), ("step: dense", 1)] {
            assert_eq!(cells(Some(only)).expect("some").len(), n, "{only}");
        }
        assert!(cells(Some("at least")).is_err(), "patterns do not match floors");
    }
}
