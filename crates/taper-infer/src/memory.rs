//! Places of regions in the arena.

use crate::{draft::Draft, value::Region};
use std::collections::HashMap;
use taper_kernels::planes::Layout;

/// The first float of each region, and the floats of all.
///
/// Regions that are never needed at the same time share memory if their layouts are equal: then the zeros between planes
/// lie in the same places, and stay zeros.
pub(crate) fn places(
    regions: &[Region],
    steps: &[Draft],
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
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&i| first[i]);
    // Memory by layout: place, planes, and the step from which it is free.
    let mut slots: HashMap<Layout, Vec<(usize, usize, usize)>> = HashMap::new();
    let mut places = vec![0; regions.len()];
    let mut end = 0;
    for i in order {
        let region = &regions[i];
        let slots = slots.entry(region.layout).or_default();
        let fitting = slots
            .iter_mut()
            .filter(|slot| slot.1 >= region.planes && slot.2 < first[i])
            .min_by_key(|slot| slot.1);
        if let Some(slot) = fitting {
            slot.2 = last[i];
            places[i] = slot.0;
            continue;
        }
        places[i] = end;
        slots.push((end, region.planes, last[i]));
        let floats = region.planes * region.layout.stride() + region.layout.halo;
        end += floats.next_multiple_of(ALIGNMENT);
    }
    (places, end)
}

/// Floats of a cache line.
pub(crate) const ALIGNMENT: usize = 16;
