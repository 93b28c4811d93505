//! Progress reports of downloads.

/// Receives the progress of downloads, for example to show a progress bar. It only observes, and does not change the
/// download.
///
/// Calls never overlap. When a transfer is resumed, [`Self::start`] is called again for the same file, and then
/// [`Self::advance`] with the bytes that are already there.
pub trait FetchProgress: Send + Sync {
    /// The transfer of `name` begins; the file has `total` bytes.
    fn start(&self, name: &str, total: u64);
    /// `bytes` more have arrived.
    fn advance(&self, bytes: u64);
    /// The transfer is complete, but not yet verified.
    fn finish(&self);
    /// A message: a retry and its reason, or a check that takes some time.
    fn note(&self, text: &str);
}

/// Ignores the progress; logs messages with `tracing`.
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
