//! Chooses the kernels of convolutions, by rule or by timing them.

use crate::{
    arena::Arena,
    conv::{Kind, Placed, Recipe, Shape},
    place::Places,
    step::Step,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use taper_kernels::{
    Variant,
    planes::{ConvSpec, Depthwise, Dots, PlaneConv, TapLists, Tile},
};

/// A kernel that can compute a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Candidate {
    Tile(Tile),
    Dots,
    Depthwise,
}

impl Candidate {
    /// The step, unless it is another convolution than the kernel computes.
    fn pack(self, variant: Variant, spec: &ConvSpec<'_>) -> Option<Step> {
        Some(match self {
            Self::Tile(tile) => Step::Conv(PlaneConv::new(variant, spec, tile)),
            Self::Dots => Step::Dots(Dots::new(variant, spec)),
            Self::Depthwise => Step::Depthwise(Depthwise::new(variant, spec)?),
        })
    }
}

type Packed = (Candidate, Step);

/// Chooses among kernels that give the same bits.
pub(crate) enum Chooser {
    /// By rule.
    Rule,
    /// By running them.
    Timing(Timing),
    /// The candidate of this number, of as many as there are.
    #[cfg(test)]
    Nth(usize),
}

/// Memory to run candidates in, and the choice for each shape so far.
#[derive(Default)]
pub(crate) struct Timing {
    arena: Option<Arena>,
    known: HashMap<Shape, Candidate>,
}

impl Chooser {
    /// By rule, or else by timing where there is a clock.
    pub(crate) fn new(by_rule: bool) -> Self {
        match by_rule || cfg!(target_arch = "wasm32") {
            true => Self::Rule,
            false => Self::Timing(Timing::default()),
        }
    }

    /// The kernel of a convolution.
    pub(crate) fn kernel(&mut self, recipe: &Recipe<'_>, places: &Places<'_>) -> Step {
        let placed = Placed::new(recipe, places);
        let spec = placed.spec();
        let pack = |candidate: Candidate| Some((candidate, candidate.pack(places.variant, &spec)?));
        let shape = recipe.shape();
        if let Some((_, step)) = self.known(&shape).and_then(pack) {
            return step;
        }
        let of = |kinds: Vec<Kind>| candidates(kinds, &spec).into_iter().filter_map(pack);
        let mut others = of(recipe.kinds());
        let first = others.next().unwrap_or_else(|| {
            // A dense kernel may lack this layout or window.
            others = of(vec![Kind::Sparse]);
            others.next().expect("rows have numbers of vectors that some tile has")
        });
        match self {
            Self::Rule => first.1,
            Self::Timing(_) if places.arena > MOST_FLOATS || recipe.work() > MOST_WORK => first.1,
            Self::Timing(timing) => {
                let (choice, step) = timing.fastest(first, others, places);
                timing.known.insert(shape, choice);
                step
            }
            #[cfg(test)]
            Self::Nth(n) => {
                let mut all: Vec<Packed> = std::iter::once(first).chain(others).collect();
                let n = *n % all.len();
                all.swap_remove(n).1
            }
        }
    }

    /// What has been chosen for a convolution that takes as long.
    fn known(&self, shape: &Shape) -> Option<Candidate> {
        match self {
            Self::Timing(timing) => timing.known.get(shape).copied(),
            _ => None,
        }
    }
}

/// Floats of an arena and multiply-adds of a convolution (some milliseconds) above which the rule chooses: a few bytes of a
/// file can ask for any of them, and compiling shall take little memory and time.
const MOST_FLOATS: usize = 1 << 24;
const MOST_WORK: usize = 1 << 28;

/// Tiles that are timed: so many that the rule finds the best, and those of so many vectors, whose pixels of all channels are
/// more likely to lie in the first cache.
const BEST: usize = 3;
const SMALL: [usize; 3] = [2, 4, 8];

/// Runs of a candidate, at least and at most, and the time after which there is no further one.
const LEAST_RUNS: usize = 2;
const RUNS: usize = 8;
const ENOUGH: Duration = Duration::from_micros(100);
/// A candidate that takes so many times as long as the fastest is not run again.
const SLOW: f64 = 1.25;
/// What a candidate takes at most, relative to the fastest so far, to be chosen instead.
const GAIN: f64 = 0.97;

impl Timing {
    /// The one that takes the least time; an earlier one if later ones are hardly faster. Two are packed at a time.
    fn fastest(
        &mut self,
        first: Packed,
        others: impl Iterator<Item = Packed>,
        places: &Places<'_>,
    ) -> Packed {
        let mut others = others.peekable();
        if others.peek().is_none() {
            return first;
        }
        let arena = self.arena.get_or_insert_with(|| {
            let mut arena = Arena::new(places.arena, 0);
            // Pages that have not been written are all the same in the cache.
            arena.floats().fill(1.0);
            arena
        });
        let mut fastest = first;
        let mut least = time(&fastest.1, arena, places.variant, Duration::MAX);
        for other in others {
            let took = time(&other.1, arena, places.variant, least.mul_f64(SLOW));
            if took < least.mul_f64(GAIN) {
                (fastest, least) = (other, took);
            }
        }
        fastest
    }
}

/// The least time of some runs, of few if they take longer than a limit.
fn time(step: &Step, arena: &mut Arena, variant: Variant, limit: Duration) -> Duration {
    let begun = Instant::now();
    let mut least = Duration::MAX;
    for run in 0..RUNS {
        if run >= LEAST_RUNS && (begun.elapsed() > ENOUGH || least > limit) {
            break;
        }
        let begun = Instant::now();
        arena.step(step, variant);
        least = least.min(begun.elapsed());
    }
    least
}

/// The kernels of these kinds that are worth timing: first the one that the rule chooses.
fn candidates(kinds: Vec<Kind>, spec: &ConvSpec<'_>) -> Vec<Candidate> {
    let of_kind = |kind: Kind| match kind {
        Kind::Depthwise => vec![Candidate::Depthwise],
        Kind::Dots => vec![Candidate::Dots],
        Kind::Dense => tiles(spec, TapLists::Shared),
        Kind::Sparse => tiles(spec, TapLists::Own),
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

/// The tiles that are worth timing, the best by rule first.
fn tiles(spec: &ConvSpec<'_>, lists: TapLists) -> Vec<Candidate> {
    let tiles = Tile::choices(spec, lists).into_iter().enumerate();
    let worth = tiles.filter(|(i, tile)| *i < BEST || SMALL.contains(&tile.vectors));
    worth.map(|(_, tile)| Candidate::Tile(tile)).collect()
}

#[cfg(test)]
mod tests;
