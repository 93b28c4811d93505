//! Concatenation of activations along channels, and its gradient.

use crate::{
    fused::JoinedParts,
    lanes::{LANES, Lanes, Plane},
};
use rayon::prelude::*;

/// Stores joined activations in one piece.
///
/// ```
/// use taper_kernels::{concat, fused::JoinedParts, lanes::{Lanes, Plane}};
///
/// let plane = |channels| Plane { batch: 16, channels, height: 1, width: 2 };
/// let [one, two] = [1.0, 2.0].map(|v| Lanes([v; 16]));
/// let mut out = vec![Lanes::ZERO; 6];
/// concat::concat(&JoinedParts::new(vec![(plane(1), &[one; 2]), (plane(2), &[two; 4])]), &mut out);
/// assert_eq!(out, [one, one, two, two, two, two]);
/// ```
///
/// # Panics
/// If a length does not fit.
pub fn concat(joined: &JoinedParts, out: &mut [Lanes]) {
    let Some(whole) = joined.plane() else {
        assert!(out.is_empty(), "without parts the output must be empty");
        return;
    };
    assert_eq!(out.len(), whole.len(), "activation of {whole:?}");
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(whole.unit()).enumerate().for_each(|(unit, out)| {
        let mut rest = out;
        for (plane, x) in joined.parts() {
            let (out, after) = rest.split_at_mut(plane.unit());
            out.copy_from_slice(&x[unit * plane.unit()..][..plane.unit()]);
            rest = after;
        }
    });
}

/// Copies the channels of one part, from channel `first` of the whole on, to `out`: the gradient of [`concat()`]. With
/// `is_added`, adds them to `out`.
///
/// # Panics
/// If the part is not within the whole, or a length does not fit.
pub fn part(
    (whole, x): (Plane, &[Lanes]),
    first: usize,
    (plane, out): (Plane, &mut [Lanes]),
    is_added: bool,
) {
    assert_eq!(
        Plane { channels: plane.channels, ..whole },
        plane,
        "the part must have the sizes of the whole"
    );
    assert!(first + plane.channels <= whole.channels, "the part must lie within the whole");
    assert!(x.len() == whole.len() && out.len() == plane.len(), "part of {whole:?}");
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(plane.unit()).enumerate().for_each(|(unit, out)| {
        let x = &x[unit * whole.unit() + first * whole.vectors()..][..out.len()];
        if !is_added {
            out.copy_from_slice(x);
            return;
        }
        for (Lanes(out), Lanes(x)) in out.iter_mut().zip(x) {
            for lane in 0..LANES {
                out[lane] += x[lane];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(plane: Plane, f: f32) -> Vec<Lanes> {
        (0..plane.len()).map(|i| Lanes(std::array::from_fn(|l| (i * 16 + l) as f32 * f))).collect()
    }

    #[test]
    fn parts_come_back() {
        let plane = |channels| Plane { batch: 21, channels, height: 3, width: 5 };
        let parts: Vec<(Plane, Vec<Lanes>)> =
            [(2, 1.0), (1, 0.5), (4, 0.25)].map(|(n, f)| (plane(n), wave(plane(n), f))).into();
        let views: Vec<(Plane, &[Lanes])> = parts.iter().map(|(p, x)| (*p, &x[..])).collect();
        let mut whole = vec![Lanes::ZERO; plane(7).len()];
        concat(&JoinedParts::new(views), &mut whole);
        let mut first = 0;
        for (plane_of, x) in &parts {
            let mut back = vec![Lanes([7.0; 16]); x.len()];
            part((plane(7), &whole), first, (*plane_of, &mut back), false);
            assert_eq!(back, *x);
            part((plane(7), &whole), first, (*plane_of, &mut back), true);
            let twice = |(a, b): (&Lanes, &Lanes)| (0..16).all(|l| a.0[l] == 2.0 * b.0[l]);
            assert!(back.iter().zip(x).all(twice));
            first += plane_of.channels;
        }
    }
}
