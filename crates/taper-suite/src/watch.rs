//! Whoever watches the runs of a suite.

/// Hears how far the runs are. `()` does not listen.
pub trait SuiteWatch: Send {
    /// So many runs are chosen, of which so many need not be made; those that are left have so many epochs in all.
    fn begin(&mut self, _suite: &str, _n_runs: usize, _n_done: usize, _n_epochs: u64) {}

    /// Run number `i` of those begins.
    fn start(&mut self, _i: usize, _run: &str) {}

    /// Run number `i` has done so many epochs.
    fn at(&mut self, _i: usize, _epochs: u64) {}

    /// Run number `i` has ended, which a line tells; it counts for so many epochs, however many it did.
    fn end(&mut self, _i: usize, _epochs: u64, _line: &str) {}

    /// Something else that is worth a line.
    fn note(&mut self, _line: &str) {}

    /// All are over.
    fn finish(&mut self) {}
}

impl SuiteWatch for () {}
