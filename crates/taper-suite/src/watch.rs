//! The progress of a suite.

/// Receives the progress of a suite. `()` ignores it.
pub trait SuiteWatch: Send {
    /// `n_runs` runs are chosen, and `n_done` of them are finished already. The others have `n_epochs` epochs in total.
    fn begin(&mut self, _suite: &str, _n_runs: usize, _n_done: usize, _n_epochs: u64) {}

    /// Run `i` of those begins.
    fn start(&mut self, _i: usize, _run: &str) {}

    /// Run `i` has finished this number of epochs.
    fn at(&mut self, _i: usize, _epochs: u64) {}

    /// Run `i` has ended, as the line reports. It counts for this number of epochs, even if it executed fewer.
    fn end(&mut self, _i: usize, _epochs: u64, _line: &str) {}

    /// Another message.
    fn note(&mut self, _line: &str) {}

    /// All runs have ended.
    fn finish(&mut self) {}
}

impl SuiteWatch for () {}
