//! The type of a channel: constant or not.

/// The pixels of a constant channel; `None` if the channel depends on the image.
pub(super) type Channel = Option<Vec<f64>>;
