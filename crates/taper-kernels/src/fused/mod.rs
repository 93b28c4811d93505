//! Batch norm and ReLU fused with convolutions, while activations are in the cache.
//!
//! Batch norm, ReLU and their gradients take one to three multiply-adds per pixel. Computed while data is loaded into
//! the cache ([`Source`], [`GradSource`]), they need no separate pass over memory. Neither do the statistics of a batch
//! ([`Moments`]) and the sums of a gradient ([`GradSums`]): they are taken from channels that have just been computed.

mod moments;
mod source;
mod sums;
mod view;

pub use moments::Moments;
pub use source::{GradSource, NormSlope, PassWhere, Source};
pub use sums::GradSums;
pub use view::{ActivationView, JoinedParts};

pub(crate) use moments::MomentSums;
pub(crate) use source::ChannelSource;
pub(crate) use sums::{GradRun, GradSum, Placed};
