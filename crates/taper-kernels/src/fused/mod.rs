//! What convolutions and normalisations do to each other's activations while these are in the cache.
//!
//! Normalisation, rectifier and their gradients are one multiply-add or three per pixel. Done on the way into the cache
//! ([`Source`], [`GradSource`]) they cost no pass over memory of their own; nor do the statistics of a batch ([`Moments`])
//! and the sums of a gradient ([`GradSums`]), taken of channels that have just been computed.

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
