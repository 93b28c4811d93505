//! Activations that are stored in parts.

use crate::{
    lanes::{ChannelOf, Lanes, Plane},
    simd::Stretch,
};
use std::ops::Range;

/// An activation that a kernel reads.
#[derive(Clone, Copy, Debug)]
pub enum ActivationView<'a> {
    /// Stored in one piece.
    Whole(&'a [Lanes]),
    /// Stored in parts. The channels of the parts follow one another.
    Joined(&'a JoinedParts<'a>),
}

/// Activations that form a larger one: their channels follow one another.
#[derive(Clone, Debug)]
pub struct JoinedParts<'a> {
    parts: Vec<(Plane, &'a [Lanes])>,
    /// For each channel, its part and its index in the part.
    channels: Vec<(u32, u32)>,
}

impl<'a> JoinedParts<'a> {
    /// Joins the parts, in the order of their channels.
    ///
    /// # Panics
    /// If parts differ in batch, height or width, or a length does not fit.
    pub fn new(parts: Vec<(Plane, &'a [Lanes])>) -> Self {
        let mut channels = Vec::new();
        for (i, (plane, x)) in parts.iter().enumerate() {
            assert_eq!(
                Plane { channels: plane.channels, ..parts[0].0 },
                *plane,
                "parts must have equal batch, height and width"
            );
            assert_eq!(x.len(), plane.len(), "activation of {plane:?}");
            channels.extend((0..plane.channels).map(|channel| (i as u32, channel as u32)));
        }
        Self { parts, channels }
    }

    /// Sizes of the joined activation; `None` if there are no parts.
    pub(crate) fn plane(&self) -> Option<Plane> {
        let (first, _) = self.parts.first()?;
        Some(Plane { channels: self.channels.len(), ..*first })
    }

    /// The parts, in the order of their channels.
    pub(crate) fn parts(&self) -> &[(Plane, &'a [Lanes])] {
        &self.parts
    }
}

impl<'a> From<&'a [Lanes]> for ActivationView<'a> {
    fn from(x: &'a [Lanes]) -> Self {
        Self::Whole(x)
    }
}

impl<'a> From<&'a Vec<Lanes>> for ActivationView<'a> {
    fn from(x: &'a Vec<Lanes>) -> Self {
        Self::Whole(x)
    }
}

impl<'a> ActivationView<'a> {
    /// Checks that its sizes are those of `plane`.
    pub(crate) fn check(&self, plane: &Plane, what: &str) {
        match self {
            Self::Whole(x) => assert_eq!(x.len(), plane.len(), "{what} of {plane:?}"),
            Self::Joined(joined) => {
                let whole = joined.plane().unwrap_or(Plane { channels: 0, ..*plane });
                assert_eq!(whole, *plane, "{what} of {plane:?}");
            }
        }
    }

    /// The `n` vectors of a channel.
    #[inline(always)]
    pub(crate) fn channel(&self, of: ChannelOf, n: usize) -> &'a [Lanes] {
        match self {
            Self::Whole(x) => &x[of.at..of.at + n],
            Self::Joined(joined) => {
                let (part, channel) = joined.channels[of.channel];
                let (plane, x) = joined.parts[part as usize];
                &x[(of.unit * plane.channels + channel as usize) * n..][..n]
            }
        }
    }

    /// Adds the address ranges of some units of `plane` to `into`.
    pub(crate) fn stretches(&self, plane: &Plane, units: Range<usize>, into: &mut Vec<Stretch>) {
        let stretch = |x: &'a [Lanes], unit: usize| {
            x.get(units.start * unit..units.end * unit).map(<[Lanes]>::as_ptr_range)
        };
        match self {
            Self::Whole(x) => into.extend(stretch(x, plane.unit())),
            Self::Joined(joined) => {
                let parts = joined.parts.iter();
                into.extend(parts.filter_map(|(plane, x)| stretch(x, plane.unit())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANE: Plane = Plane { batch: 3, channels: 5, height: 4, width: 8 };

    #[test]
    fn channels_and_stretches_of_parts_are_those_of_the_whole() {
        let part = |channels, value: f32| {
            let plane = Plane { channels, ..PLANE };
            let vector = |i: usize| Lanes([value + i as f32; 16]);
            (plane, (0..plane.len()).map(vector).collect::<Vec<_>>())
        };
        let parts = [part(2, 0.0), part(3, 1000.0)];
        let joined = JoinedParts::new(parts.iter().map(|(plane, x)| (*plane, &x[..])).collect());
        let view = ActivationView::Joined(&joined);
        view.check(&PLANE, "parts");
        let n = PLANE.vectors();
        for unit in 0..PLANE.units() {
            for channel in 0..PLANE.channels {
                let got = view.channel(PLANE.channel_of(unit, channel), n);
                let (part, within) = if channel < 2 { (0, channel) } else { (1, channel - 2) };
                let (plane, x) = &parts[part];
                assert_eq!(got, &x[unit * plane.unit() + within * n..][..n]);
            }
            let mut found = Vec::new();
            view.stretches(&PLANE, unit..unit + 1, &mut found);
            assert_eq!(found.len(), 2);
            for ((plane, x), found) in parts.iter().zip(found) {
                assert_eq!(found, x[unit * plane.unit()..][..plane.unit()].as_ptr_range());
            }
        }
    }

    #[test]
    #[should_panic(expected = "equal batch, height and width")]
    fn parts_of_other_sizes_are_refused() {
        let plane = |height| Plane { batch: 1, channels: 1, height, width: 32 };
        let (a, b) = ([Lanes::ZERO; 2], [Lanes::ZERO; 4]);
        JoinedParts::new(vec![(plane(1), &a), (plane(2), &b)]);
    }

    #[test]
    #[should_panic(expected = "source of")]
    fn parts_of_fewer_channels_are_refused() {
        let x = [Lanes::ZERO; 2];
        let plane = Plane { batch: 1, channels: 1, height: 2, width: 16 };
        let joined = JoinedParts::new(vec![(plane, &x)]);
        ActivationView::Joined(&joined).check(&Plane { channels: 2, ..plane }, "source");
    }
}
