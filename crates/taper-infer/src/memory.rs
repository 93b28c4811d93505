//! Memory planning: positions of regions in the arena.

use crate::{draft::Draft, value::Region};
use std::{collections::HashMap, ops::RangeInclusive};
use taper_kernels::planes::Layout;

/// The position of the first float of each region, and the number of floats of all regions.
///
/// Regions that are never needed at the same time share memory if their layouts are equal. Then the zeros between
/// planes have the same positions, and are never overwritten.
pub(crate) fn places(
    regions: &[Region],
    steps: &[Draft<'_>],
    input: &[usize],
    output: &[usize],
) -> (Vec<usize>, usize) {
    let mut first = vec![usize::MAX; regions.len()];
    let mut last = vec![0; regions.len()];
    for (i, step) in steps.iter().enumerate() {
        let at = i + 1;
        for &region in step.reads.iter().chain([&step.writes]) {
            first[region] = first[region].min(at);
            last[region] = last[region].max(at);
        }
    }
    for &region in input {
        first[region] = 0;
    }
    for (i, region) in regions.iter().enumerate() {
        if region.constant.is_some() || output.contains(&i) {
            last[i] = usize::MAX;
        }
        if region.constant.is_some() {
            first[i] = 0;
        }
    }
    // Largest first: later regions then fit into the memory of earlier ones.
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(regions[i].planes), first[i]));
    let mut slots: HashMap<Layout, Vec<Slot>> = HashMap::new();
    let mut places = vec![0; regions.len()];
    let mut end = 0;
    for i in order {
        let region = &regions[i];
        let needed = first[i]..=last[i];
        let slots = slots.entry(region.layout).or_default();
        let is_free = |used: &[RangeInclusive<usize>]| {
            used.iter().all(|used| used.end() < needed.start() || needed.end() < used.start())
        };
        if let Some(slot) = slots.iter_mut().find(|slot| is_free(&slot.used)) {
            places[i] = slot.place;
            slot.used.push(needed);
            continue;
        }
        places[i] = end;
        slots.push(Slot { place: end, used: vec![needed] });
        // Saturated sizes are above any limit.
        let planes = region.planes.saturating_mul(region.layout.stride());
        let floats = planes.saturating_add(region.layout.halo);
        end = floats
            .checked_next_multiple_of(ALIGNMENT)
            .map_or(usize::MAX, |floats| floats.saturating_add(end));
    }
    (places, end)
}

/// Memory of regions of one layout.
struct Slot {
    place: usize,
    /// For each of its regions, the steps from the first to the last that need it.
    used: Vec<RangeInclusive<usize>>,
}

/// Makes the halos of regions equal if their layouts differ in nothing else. Such regions can share memory.
pub(crate) fn unify_halos(regions: &mut [Region]) {
    let plain = |layout: Layout| Layout { halo: 0, ..layout };
    let mut most: HashMap<Layout, usize> = HashMap::new();
    for region in &*regions {
        let halo = most.entry(plain(region.layout)).or_default();
        *halo = region.layout.halo.max(*halo);
    }
    for region in regions {
        region.layout.halo = most[&plain(region.layout)];
    }
}

/// Floats of a cache line.
pub(crate) const ALIGNMENT: usize = 16;
