//! The suite `ranks`: compares training in several processes with one process, and computes the scaling to more ranks.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use taper_record::RunFiles;
use taper_record::timing::EpochTime;
use taper_report::{format, stats::median};

use super::suite::{InRanks, RANKS, RanksRow, ScaledNetwork, Scaling};
use super::table::{Table, judge};
use super::{Process, REST};
use crate::taper;

/// Steps in an epoch of a timed run.
const STEPS: usize = 24;
/// Bandwidths in bytes per second.
const NETWORKS: [(&str, f64); 2] = [("10 Gbit/s", 1.25e9), ("100 Gbit/s", 12.5e9)];

/// Measures the chosen rows, and computes the scaling to more ranks.
///
/// # Errors
/// If a program cannot be built or started, or fails.
pub(crate) fn tables(
    root: &Path,
    threads: u64,
    rounds: u64,
    suite: &InRanks,
    is_chosen: impl Fn(&str) -> bool,
) -> Result<[(&'static str, Table); 2]> {
    let rows: Vec<&RanksRow> = suite.rows.iter().filter(|row| is_chosen(&row.name())).collect();
    let measured = beside(root, threads, rounds, suite.batch, &rows)?;
    let scaled = scaling(root, threads, rounds, &suite.scaling)?;
    Ok([(RANKS, measured), ("scaling", scaled)])
}

/// Compares one process of several threads with as many ranks of one thread each, in turn.
fn beside(
    root: &Path,
    threads: u64,
    rounds: u64,
    batch: usize,
    rows: &[&RanksRow],
) -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("taper");
    // A copy: another process may build the program without MPI meanwhile.
    std::fs::copy(taper::build_with(root, Some("mpi"))?, &program)?;
    let data = folder.path().join("noise");
    write_noise(&data, STEPS * batch, batch)?;
    let one = format!("one process of {threads} threads, images/s");
    let many = format!("{threads} ranks of one thread, images/s");
    let columns =
        ["run", "sparsity", &one, &many, "sent by a rank in a step", "ratio", "floor", "verdict"];
    let mut table = Table { columns: columns.map(String::from).to_vec(), ..Table::default() };
    for row in rows {
        let (mut speeds, mut bytes) = ([Vec::new(), Vec::new()], 0.0);
        for _ in 0..rounds {
            for (side, ranks) in [1, threads].into_iter().enumerate() {
                std::thread::sleep(REST);
                let out = folder.path().join(format!("run-{ranks}"));
                let mut command = match ranks {
                    1 => Command::new(&program),
                    _ => {
                        let mut command = Command::new("mpirun");
                        command.args(["-n", &ranks.to_string()]).arg(&program);
                        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
                        command.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
                        command
                    }
                };
                command.args(["train", "--quiet", "--force", "--epochs=2", "--model", &row.model]);
                command.arg("--data").arg(&data).arg("--out").arg(&out);
                let threads = if ranks == 1 { threads } else { 1 };
                command.arg(format!("--threads={threads}")).arg(format!("--batch-size={batch}"));
                match row.sparsity {
                    0.0 => command.arg("--method=dense"),
                    sparsity => command
                        .arg(format!("--sparsity={sparsity}"))
                        .args(["--set=prune.schedule=one-shot", "--set=prune.end=0"])
                        .arg(format!("--set=prune.pruned_gradient={}", row.gradient)),
                };
                let output = command.env("RUST_LOG", "info").output();
                let output = output
                    .with_context(|| format!("cannot run {}", command.get_program().display()))?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "{command:?} failed\n{said}");
                let times = RunFiles::new(&out).timing()?;
                speeds[side].push(last_speed(&times).context("no epoch")?);
                bytes = sent_bytes(&said).unwrap_or(bytes);
            }
        }
        let pairs = speeds[0].iter().zip(&speeds[1]);
        let ratio = median(pairs.map(|(one, many)| many / one).collect());
        let [one, many] = speeds.map(median);
        let verdict = judge(&format!("{RANKS}: {}", row.name()), ratio, row.floor);
        table.rows.push(vec![
            row.label.clone(),
            format::percent_short(row.sparsity),
            format!("{one:.0}"),
            format!("{many:.0}"),
            format::bytes(bytes),
            format!("{ratio:.2}"),
            row.floor.map_or(String::new(), |floor| format!("{floor}")),
            verdict.word().into(),
        ]);
        table.verdicts.push(verdict);
    }
    table.notes.push("*ratio*: the median over pairs of runs, one right after the other.".into());
    Ok(table)
}

/// Images per second of the last epoch. The first epoch includes work that is done only once.
fn last_speed(times: &[EpochTime]) -> Option<f64> {
    times.last().map(|time| time.images_per_second)
}

/// Bytes that a rank has sent in a step, according to the log.
fn sent_bytes(log: &str) -> Option<f64> {
    let (_, after) = log.rsplit_once("bytes_per_step=")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Writes a folder in the layout of CIFAR-100's binary version, with random images.
fn write_noise(folder: &Path, n_train: usize, n_test: usize) -> Result<()> {
    std::fs::create_dir(folder)?;
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for (name, n) in [("train", n_train), ("test", n_test)] {
        let mut bytes = Vec::new();
        for i in 0..n {
            bytes.extend([(i % 20) as u8, (i % 100) as u8]);
            bytes.extend((0..3072).map(|_| byte()));
        }
        std::fs::write(folder.join(format!("{name}.bin")), bytes)?;
    }
    Ok(())
}

/// The computed scaling to more ranks, each on a machine like this one.
fn scaling(root: &Path, threads: u64, rounds: u64, scaling: &Scaling) -> Result<Table> {
    let columns = ["network", "batch", "ranks", "step of a rank, s", "sends, MB"];
    let columns = columns.map(String::from).into_iter();
    let columns = columns.chain(NETWORKS.map(|(name, _)| format!("efficiency at {name}")));
    let mut table = Table { columns: columns.collect(), ..Table::default() };
    let mut process = Process::taper(root)?;
    for network in &scaling.networks {
        let found = Measured::of(&mut process, network, threads, rounds)
            .with_context(|| network.label.clone())?;
        for (&ranks, &step) in network.ranks.iter().zip(&found.steps) {
            let mut cells = vec![
                network.label.clone(),
                network.batch.to_string(),
                ranks.to_string(),
                format!("{step:.3}"),
                format!("{:.2}", found.sends(ranks) / 1e6),
            ];
            cells.extend(NETWORKS.map(|(_, bandwidth)| {
                let least = (network.ranks[0], found.steps[0]);
                let efficiency = found.efficiency(least, (ranks, step), bandwidth, scaling.latency);
                format!("{:.0} %", 100.0 * efficiency)
            }));
            table.rows.push(cells);
        }
    }
    table.notes.push(format!(
        "Computed, not measured, from the fastest step of a rank's part of the batch ({threads} threads, this machine), the bytes that 2 and 4 ranks \
         send, and a latency of {} µs per message. Computing and sending do not overlap. The time of one machine is the sum over the parts of the \
         fewest ranks.",
        scaling.latency * 1e6
    ));
    Ok(table)
}

/// The measurements of a network.
struct Measured {
    /// Seconds of a rank's step, for each number of ranks.
    steps: Vec<f64>,
    /// Bytes that are summed in chunks (all-reduce).
    chunked: f64,
    /// Bytes that every rank sends to every other rank (all-gather).
    gathered: f64,
    /// Number of times that a rank waits for messages in a step.
    n_waits: f64,
}

impl Measured {
    fn of(
        process: &mut Process,
        network: &ScaledNetwork,
        threads: u64,
        rounds: u64,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let weights = folder.path().join("weights.safetensors");
        let ScaledNetwork { model, sparsity, update, batch, ranks, .. } = network;
        process.ask(&json!({
            "do": "weights", "model": model, "sparsity": sparsity, "path": weights,
        }))?;
        let open = |process: &mut Process, batch: usize| {
            process.ask(&json!({
                "do": "open", "model": model, "threads": threads, "batch": batch,
                "sparsity": sparsity, "weights": weights, "update": update,
            }))
        };
        let mut steps = Vec::new();
        for ranks in ranks {
            open(process, batch / ranks)?;
            let mut fastest = f64::INFINITY;
            // Two warm-up rounds, for caches and kernel choices.
            for round in 0..rounds + 2 {
                let seconds = process.seconds(&json!({ "do": "step" }))?;
                fastest = if round >= 2 { fastest.min(seconds) } else { fastest };
            }
            steps.push(fastest);
        }
        // A batch of 64: one group of 16 images for each of four ranks.
        open(process, 64)?;
        let mut sent =
            |ranks: u64, key: &str| process.number(&json!({ "do": "sent", "ranks": ranks }), key);
        let (two, four) = (sent(2, "bytes")?, sent(4, "bytes")?);
        let n_waits = sent(2, "waits")?;
        Ok(Self { steps, n_waits, ..Self::bytes(two, four) })
    }

    /// Each of R ranks sends (2 − 2/R) times the chunked bytes, and (R − 1) times the gathered bytes.
    fn bytes(two: f64, four: f64) -> Self {
        let gathered = (four - 1.5 * two) / 1.5;
        Self { steps: Vec::new(), n_waits: 0.0, chunked: two - gathered, gathered }
    }

    /// Bytes that a rank sends.
    fn sends(&self, ranks: usize) -> f64 {
        let ranks = ranks as f64;
        self.chunked * (2.0 - 2.0 / ranks) + self.gathered * (ranks - 1.0)
    }

    /// Parallel efficiency: the time of one machine, divided by the total time of all ranks. The first two arguments
    /// are pairs of a number of ranks and the seconds of their step.
    fn efficiency(
        &self,
        least: (usize, f64),
        (ranks, step): (usize, f64),
        bandwidth: f64,
        latency: f64,
    ) -> f64 {
        let waits = self.n_waits * (ranks as f64).log2().ceil() * latency;
        let together = step + self.sends(ranks) / bandwidth + waits;
        least.0 as f64 * least.1 / (ranks as f64 * together)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_more_ranks_are_computed_from_two_and_four() {
        let measured = Measured { n_waits: 3.0, ..Measured::bytes(110.0, 180.0) };
        assert_eq!((measured.chunked, measured.gathered), (100.0, 10.0));
        for (ranks, sent) in [(2, 110.0), (4, 180.0), (8, 245.0)] {
            assert_eq!(measured.sends(ranks), sent);
        }
        // 4 ranks compute 1.5 s each, send for 2 s and wait 2 × 3 times.
        let efficiency = measured.efficiency((2, 2.0), (4, 1.5), 90.0, 0.5);
        assert_eq!(efficiency, 2.0 * 2.0 / (4.0 * (1.5 + 2.0 + 3.0)));
    }

    #[test]
    fn sent_bytes_are_read_from_the_log() {
        let log = " INFO sent by rank 0 epoch=0 bytes_per_step=12\n INFO sent epoch=1 bytes_per_step=345\nx";
        assert_eq!(sent_bytes(log), Some(345.0));
        assert_eq!(sent_bytes("nothing"), None);
    }
}
