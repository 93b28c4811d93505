//! One progress bar for all runs, or plain lines where there is no terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far the runs are, in epochs.
pub(crate) struct Progress {
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    /// Epochs of the runs that have ended.
    before: u64,
}

impl Progress {
    /// Begins a display over `epochs` epochs in all.
    pub(crate) fn new(epochs: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(epochs);
            let template = "{bar:24} {percent:>3} %  {elapsed_precise}, {eta} left  {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, before: 0 }
    }

    /// Names the run at work.
    pub(crate) fn start(&self, run: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(run.to_owned());
        }
    }

    /// The run at work has done this many epochs.
    pub(crate) fn at(&self, epochs: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.before + epochs);
        }
    }

    /// The run at work has ended; it counts for `epochs` epochs, however many it did.
    pub(crate) fn end(&mut self, epochs: u64, line: &str) {
        self.before += epochs;
        self.at(0);
        self.line(line);
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
