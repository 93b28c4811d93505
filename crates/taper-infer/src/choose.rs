//! Chooses the kernels of convolutions, by rule or by timing.

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
    /// The packed step; `None` if the kernel does not support this convolution.
    fn pack(self, variant: Variant, spec: &ConvSpec<'_>) -> Option<Step> {
        Some(match self {
            Self::Tile(tile) => Step::Conv(PlaneConv::new(variant, spec, tile)),
            Self::Dots => Step::Dots(Dots::new(variant, spec)),
            Self::Depthwise => Step::Depthwise(Depthwise::new(variant, spec)?),
        })
    }
}

type Packed = (Candidate, Step);

/// Chooses among kernels with bit-identical results.
pub(crate) enum Chooser {
    /// By rule.
    Rule,
    /// By timing.
    Timing(Timing),
    /// The candidate of this number, modulo the number of candidates.
    #[cfg(test)]
    Nth(usize),
}

/// Memory for running candidates, and the choice for each shape so far.
#[derive(Default)]
pub(crate) struct Timing {
    arena: Option<Arena>,
    known: HashMap<Shape, Candidate>,
}

impl Chooser {
    /// By rule, or by timing if `by_rule` is false and the target has a clock.
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
            // Dense kernels do not support every layout and window.
            others = of(vec![Kind::Sparse]);
            others.next().expect("a tile exists for every number of vectors in a row")
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

    /// The choice for an earlier convolution of the same shape.
    fn known(&self, shape: &Shape) -> Option<Candidate> {
        match self {
            Self::Timing(timing) => timing.known.get(shape).copied(),
            _ => None,
        }
    }
}

/// Above this many floats in an arena, or multiply-adds of a convolution (some milliseconds), the rule chooses. A few
/// bytes of a file can request any size, and compiling must take little memory and time.
const MOST_FLOATS: usize = 1 << 24;
const MOST_WORK: usize = 1 << 28;

/// Tiles that are timed: the first `BEST` by rule, and the tiles with `SMALL` numbers of vectors. With a small tile,
/// the pixels of all channels are more likely to fit the L1 cache.
const BEST: usize = 3;
const SMALL: [usize; 3] = [2, 4, 8];

/// Minimum and maximum number of runs of a candidate, and the time after which no further run starts.
const LEAST_RUNS: usize = 2;
const RUNS: usize = 8;
const ENOUGH: Duration = Duration::from_micros(100);
/// A candidate is not run again if it takes more than this factor of the fastest time.
const SLOW: f64 = 1.25;
/// A candidate replaces the fastest so far if it takes less than this fraction of its time.
const GAIN: f64 = 0.97;

impl Timing {
    /// The fastest candidate; later candidates must be at least 3 % faster to replace an earlier one. Only two
    /// candidates are packed at any time.
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
            // Pages that were never written share one physical page, which would always be in the cache.
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

/// The shortest time of several runs. Stops early if the runs take longer than `limit`.
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

/// The kernels of these kinds that are worth timing. The first is the choice of the rule.
fn candidates(kinds: Vec<Kind>, spec: &ConvSpec<'_>) -> Vec<Candidate> {
    let of_kind = |kind: Kind| match kind {
        Kind::Depthwise => vec![Candidate::Depthwise],
        Kind::Dots => vec![Candidate::Dots],
        Kind::Dense => tiles(spec, TapLists::Shared),
        Kind::Sparse => tiles(spec, TapLists::Own),
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

/// The tiles that are worth timing. The first is the best by rule.
fn tiles(spec: &ConvSpec<'_>, lists: TapLists) -> Vec<Candidate> {
    let tiles = Tile::choices(spec, lists).into_iter().enumerate();
    let worth = tiles.filter(|(i, tile)| *i < BEST || SMALL.contains(&tile.vectors));
    worth.map(|(_, tile)| Candidate::Tile(tile)).collect()
}

#[cfg(test)]
mod tests;
