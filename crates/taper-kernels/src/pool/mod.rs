//! Average and maximum pooling.

mod average;
mod maximum;

pub use average::{Windows, average, average_grad, plane_means};
pub use maximum::{MaxWindows, maximum, maximum_grad};

use crate::lanes::{ChannelPlaces, LANES, Lanes, Plane, floats_mut};
use rayon::prelude::*;

/// Calls `f` for each channel of each image, with the image, the channel, sixteen images of `out`, and the places of
/// the channel in these.
fn each_channel(
    plane: &Plane,
    out: &mut [Lanes],
    f: impl Fn(usize, usize, &mut [f32], ChannelPlaces) + Sync,
) {
    out.par_chunks_mut(plane.block()).enumerate().for_each(|(block, out)| {
        let first = block * LANES;
        let start = block * plane.block() * LANES;
        let out = floats_mut(out);
        for image in first..(first + LANES).min(plane.batch) {
            for channel in 0..plane.channels {
                let mut to = plane.channel(image, channel);
                to.first -= start;
                f(image, channel, out, to);
            }
        }
    });
}

/// Zeroes the gradient, lanes without a pixel included, unless new values are added to it.
fn begin(grad_x: &mut [Lanes], is_added: bool) {
    if !is_added {
        grad_x.par_chunks_mut(1 << 12).for_each(|grad_x| grad_x.fill(Lanes::ZERO));
    }
}
