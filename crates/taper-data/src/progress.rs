//! How a long fetch tells what it is doing.

/// Told what a fetch is doing, so that a program can draw a bar. Only watches: nothing here changes what is fetched.
///
/// Calls come one at a time. [`Self::start`] may come again for the same file, when a transfer is taken up again; the
/// bytes that are already there are then reported by [`Self::advance`] at once.
pub trait FetchProgress: Send + Sync {
    /// A transfer of `name` begins; the file has `total` bytes.
    fn start(&self, name: &str, total: u64);
    /// `bytes` more have arrived.
    fn advance(&self, bytes: u64);
    /// The transfer is complete (though not yet verified).
    fn finish(&self);
    /// Something worth a line of text: a retry and its reason, a check that takes a moment.
    fn note(&self, text: &str);
}

/// Watches nothing; notes go to `tracing`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl FetchProgress for Silent {
    fn start(&self, _: &str, _: u64) {}

    fn advance(&self, _: u64) {}

    fn finish(&self) {}

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }
}
