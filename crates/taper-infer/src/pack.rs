//! Turns drafts into steps with positions for planes.

use crate::{choose::Chooser, draft::Work, place::Places, step::Step};
use taper_kernels::planes::{GlobalPool, Map, Pairs, ParitySplit, PixelCopy, Pool, Remap, Softmax};

/// The step for a draft, with the positions of its planes.
pub(crate) fn pack(work: Work<'_>, places: &Places<'_>, chooser: &mut Chooser) -> Step {
    let (variant, arena) = (places.variant, places.arena);
    match work {
        Work::Conv(recipe) => chooser.kernel(&recipe, places),
        Work::Remap(remap, planes) => Step::Remap(Remap { planes: places.each(planes), ..remap }),
        Work::Split([from, to], planes) => {
            Step::Split(ParitySplit::new(variant, from, to, places.each(planes), arena))
        }
        Work::Pool(pool, planes) => Step::Pool(Pool { planes: places.each(planes), ..pool }),
        Work::Global(global, planes) => {
            Step::Global(GlobalPool { planes: places.each(planes), ..global })
        }
        Work::Map(map, planes) => Step::Map(Map { planes: places.each(planes), ..map }),
        Work::Pairs(pairs, planes) => Step::Pairs(Pairs { planes: places.each(planes), ..pairs }),
        Work::Gather([from, to]) => {
            Step::Gather(PixelCopy { pixels: places.pixel_pairs(&from, &to) })
        }
        Work::Softmax { values: [from, to], n, inner } => {
            let each = places.pixel_pairs(&from, &to);
            let group = |first: usize| each[first..].iter().step_by(inner).take(n).copied();
            let firsts = (0..each.len()).filter(|i| i / inner % n == 0);
            let groups = firsts.map(|first| group(first).collect()).collect();
            Step::Softmax(Softmax { groups })
        }
    }
}
