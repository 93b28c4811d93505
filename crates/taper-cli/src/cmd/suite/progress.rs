//! One progress bar for all runs of a suite, or plain lines where there is no terminal.

use crate::term;
use indicatif::ProgressBar;
use std::{
    collections::BTreeMap,
    io::{IsTerminal, stderr},
};
use taper_suite::SuiteWatch;

/// Shows the progress of all runs in epochs.
#[derive(Default)]
pub struct SuiteProgress {
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    /// Total epochs of the runs that have ended.
    before: u64,
    /// Names of the active runs, and their epochs.
    at_work: BTreeMap<usize, (String, u64)>,
}

impl SuiteWatch for SuiteProgress {
    fn begin(&mut self, suite: &str, n_runs: usize, n_done: usize, n_epochs: u64) {
        term::line(&format!("suite '{suite}': {n_runs} runs, {n_done} of them finished"));
        self.bar = stderr().is_terminal().then(|| term::suite_bar(n_epochs));
    }

    fn start(&mut self, i: usize, run: &str) {
        self.at_work.insert(i, (run.to_owned(), 0));
        self.show();
    }

    fn at(&mut self, i: usize, epochs: u64) {
        if let Some((_, done)) = self.at_work.get_mut(&i) {
            *done = epochs;
        }
        self.show();
    }

    fn end(&mut self, i: usize, epochs: u64, line: &str) {
        self.at_work.remove(&i);
        self.before += epochs;
        self.show();
        term::line(line);
    }

    fn note(&mut self, line: &str) {
        term::line(line);
    }

    fn finish(&mut self) {
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

impl SuiteProgress {
    fn show(&self) {
        let Some(bar) = &self.bar else { return };
        let names: Vec<&str> = self.at_work.values().map(|(name, _)| name.as_str()).collect();
        bar.set_message(names.join(", "));
        bar.set_position(self.before + self.at_work.values().map(|(_, done)| done).sum::<u64>());
    }
}
