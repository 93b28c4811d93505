//! Terminal output: progress bars, and log lines that do not break them.

use anyhow::Context;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, OnceLock},
    time::Duration,
};
use taper::data::FetchProgress;
use taper_host::Exit;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// All progress bars. indicatif hides them if standard error is not a terminal.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

/// Runs `f` while no bar is drawn.
pub fn suspend<R>(f: impl FnOnce() -> R) -> R {
    bars().suspend(f)
}

/// Sends `tracing` to standard error, from `level` up; `RUST_LOG` overrides the level.
pub fn start_log(level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .with_writer(Stderr)
        .init();
}

/// Standard error, written while no bar is drawn.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A closed standard error must not end a run, so errors are ignored.
        suspend(|| {
            let _ = io::stderr().write_all(bytes);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// A progress bar over `len` steps.
pub fn step_bar(len: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg} ({eta} left)");
    // The template is a constant and valid; the fallback is never used.
    bars().add(
        ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
    )
}

/// A progress bar over `len` epochs: those of all runs of a suite.
pub fn suite_bar(len: u64) -> ProgressBar {
    let bar = bars().add(ProgressBar::new(len));
    let template = "{bar:24} {percent:>3} %  {elapsed_precise}, {eta} left  {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Prints a line on standard error while no bar is drawn. Errors are ignored: a closed standard error must not end a
/// run.
pub fn line(text: &str) {
    suspend(|| {
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// Width of a chart in characters: `COLUMNS`, or 100.
pub fn columns() -> u32 {
    std::env::var("COLUMNS").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// Prints a text and a line end on standard output.
///
/// If the reader closes the pipe, as `head` does, the program ends with exit code 0.
pub fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    print_before(Exit::Done, text)
}

/// Like [`print`], for a program that will end with this exit code, also if the reader closes the pipe.
pub fn print_before(exit: Exit, text: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(exit.code().into()),
        result => Ok(result.context("cannot write to standard output")?),
    }
}

/// A progress bar for downloads.
#[derive(Default)]
pub struct FetchBar(Mutex<Option<ProgressBar>>);

impl FetchBar {
    fn with(&self, f: impl FnOnce(&mut Option<ProgressBar>)) {
        f(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl FetchProgress for FetchBar {
    fn start(&self, name: &str, total: u64) {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} ({bytes_per_sec}, {eta} left)",
        );
        let bar = ProgressBar::new(total)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_string());
        self.with(|slot| {
            if let Some(old) = slot.replace(bars().add(bar)) {
                old.finish_and_clear();
            }
        });
        if !io::stderr().is_terminal() {
            line(&format!("fetching {name}, {:.1} MB", total as f64 / 1e6));
        }
    }

    fn advance(&self, bytes: u64) {
        self.with(|slot| slot.iter().for_each(|bar| bar.inc(bytes)));
    }

    fn finish(&self) {
        self.with(|slot| slot.take().iter().for_each(ProgressBar::finish_and_clear));
    }

    fn note(&self, text: &str) {
        line(text);
    }
}
