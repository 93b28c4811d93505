//! A channel of a node, constant or not.

/// The pixels of a constant channel; none if it depends on the image.
pub(super) type Channel = Option<Vec<f64>>;
