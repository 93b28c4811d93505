//! A callback that writes TensorBoard event files.
//!
//! A file is a sequence of records. A record is the length of a message (u64, little-endian), a masked CRC-32C of the
//! length, the message (protobuf), and a masked CRC-32C of the message. A resumed run starts a new file in the same
//! folder, as TensorBoard expects.
//!
//! # References
//! The format is that of TensorFlow's record writer and `event.proto`.

use super::{Callback, EpochEvent, Flow, StepEvent};
use crate::{Progress, error::TrainError};
use prost::Message;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The prefix by which TensorBoard finds its files.
const PREFIX: &str = "events.out.tfevents.";
/// The part of the name between the time and the first step. It marks the files that Taper wrote.
const WRITER: &str = ".taper.";

/// Writes scalars of steps and epochs to a TensorBoard file `events.out.tfevents.*` in a folder.
pub struct TensorBoard {
    folder: PathBuf,
    open: Option<(PathBuf, File)>,
}

impl TensorBoard {
    /// Writes to `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), open: None }
    }

    /// The files in `folder` that Taper wrote, sorted by name. Files of other programs are left out.
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // Other programs write the name of the machine at this place, which can contain anything.
        let is_ours = |name: &str| {
            let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(WRITER));
            parts.is_some_and(|(time, step)| is_number(time) && is_number(step))
        };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let entries = entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files
    }

    fn write(
        &mut self,
        step: u64,
        file_version: Option<&str>,
        scalars: &[(&str, f64)],
    ) -> Result<(), TrainError> {
        let Some((path, file)) = &mut self.open else { return Ok(()) };
        let value = |&(tag, value): &(&str, f64)| SummaryValue {
            tag: tag.into(),
            simple_value: Some(value as f32),
        };
        let event = Event {
            wall_time: seconds(),
            step: step as i64,
            file_version: file_version.map(String::from),
            summary: (!scalars.is_empty())
                .then(|| Summary { value: scalars.iter().map(value).collect() }),
        };
        file.write_all(&record(&event.encode_to_vec())).map_err(TrainError::io("write", &*path))
    }
}

impl Callback for TensorBoard {
    fn start(&mut self, progress: &Progress) -> Result<Flow, TrainError> {
        let name = format!("{PREFIX}{:.0}{WRITER}{}", seconds(), progress.step);
        let path = self.folder.join(name);
        // Appends, because a run that resumes within the same second gets the same file name.
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(TrainError::io("create", &path))?;
        self.open = Some((path, file));
        self.write(progress.step, Some("brain.Event:2"), &[]).map(|()| Flow::Continue)
    }

    fn step(&mut self, event: &StepEvent) -> Result<Flow, TrainError> {
        let mut scalars = vec![
            ("step/loss", event.loss),
            ("step/lr", event.lr),
            ("step/grad_norm", event.grad_norm),
        ];
        if let Some(pruner) = event.pruner {
            let report = pruner.report();
            scalars.push(("step/sparsity", report.sparsity().get()));
            scalars.push(("step/dead_filters", report.n_dead_filters() as f64));
            scalars.push(("step/dead_grad_share", event.dead_grad_share));
            scalars.push(("step/cut", f64::from(pruner.cut())));
        }
        self.write(event.step, None, &scalars).map(|()| Flow::Continue)
    }

    fn epoch(&mut self, event: &EpochEvent) -> Result<Flow, TrainError> {
        let last = *event.last();
        let mut scalars = vec![
            ("epoch/train_loss", last.train_loss),
            ("epoch/train_accuracy", last.train_accuracy),
            ("epoch/sparsity", last.sparsity),
        ];
        if !last.test_accuracy.is_nan() {
            scalars.extend([
                ("epoch/test_loss", last.test_loss),
                ("epoch/test_accuracy", last.test_accuracy),
            ]);
        }
        if !last.validation_accuracy.is_nan() {
            scalars.extend([
                ("epoch/validation_loss", last.validation_loss),
                ("epoch/validation_accuracy", last.validation_accuracy),
            ]);
        }
        self.write(last.step, None, &scalars).map(|()| Flow::Continue)
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked_crc(message).to_le_bytes());
    out
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_begins_within_the_same_second_appends() {
        let folder = tempfile::tempdir().unwrap();
        for host in ["host", "a.taper.example.org", "taper"] {
            let name = format!("events.out.tfevents.1.{host}.2.0");
            std::fs::write(folder.path().join(name), "mine").unwrap();
        }
        let len = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        // Three starts within two seconds: at least two of them have the same name.
        for _ in 0..3 {
            TensorBoard::new(folder.path()).start(&Progress::default()).unwrap();
        }
        let head = 8 + 4 + 24 + 4;
        let files = TensorBoard::files(folder.path());
        assert_eq!(files.iter().map(len).sum::<u64>(), 3 * head);
    }

    #[test]
    fn a_record_by_hand() {
        // The first record of every file, at time 0.
        let event = Event {
            wall_time: 0.0,
            step: 0,
            file_version: Some("brain.Event:2".into()),
            summary: None,
        };
        let record = record(&event.encode_to_vec());
        assert_eq!(record[..8], 15u64.to_le_bytes());
        assert_eq!(&record[12..27], b"\x1a\x0dbrain.Event:2");
        assert_eq!(record.len(), 8 + 4 + 15 + 4);
        // RFC 3720: the CRC-32C of "123456789" is e3069283.
        assert_eq!(
            masked_crc(b"123456789"),
            0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }
}
