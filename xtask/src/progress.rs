//! One progress bar for all runs, or plain lines where there is no terminal.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far the runs are, in epochs.
pub(crate) struct Progress {
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    /// Epochs of the runs that have ended.
    before: u64,
    /// Names of the runs at work and their epochs.
    at_work: BTreeMap<usize, (String, u64)>,
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
        Self { bar, before: 0, at_work: BTreeMap::new() }
    }

    /// Run number `i` begins.
    pub(crate) fn start(&mut self, i: usize, run: &str) {
        self.at_work.insert(i, (run.to_owned(), 0));
        self.show();
    }

    /// Run number `i` has done this many epochs.
    pub(crate) fn at(&mut self, i: usize, epochs: u64) {
        if let Some((_, done)) = self.at_work.get_mut(&i) {
            *done = epochs;
        }
        self.show();
    }

    /// Run number `i` has ended; it counts for `epochs` epochs, however many it did.
    pub(crate) fn end(&mut self, i: usize, epochs: u64, line: &str) {
        self.at_work.remove(&i);
        self.before += epochs;
        self.show();
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn show(&self) {
        let Some(bar) = &self.bar else { return };
        let names: Vec<&str> = self.at_work.values().map(|(name, _)| name.as_str()).collect();
        bar.set_message(names.join(", "));
        bar.set_position(self.before + self.at_work.values().map(|(_, done)| done).sum::<u64>());
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
