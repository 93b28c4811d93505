//! Chooses the kernel of a convolution.

use super::{Recipe, place::Placed};
use crate::{step::Step, value::Plane};
use taper_kernels::{
    Variant,
    planes::{Conv, Depthwise, Dots, Packing, Spec, Tile},
};

/// The kernel of a convolution, chosen by rule.
pub(crate) fn kernel(
    variant: Variant,
    recipe: &Recipe<'_>,
    at: &dyn Fn(Plane) -> u32,
    arena: usize,
    zero: u32,
) -> Step {
    let placed = Placed::new(recipe, at, arena, zero);
    let spec = placed.spec();
    if recipe.is_depthwise()
        && let Some(depthwise) = Depthwise::new(variant, &spec)
    {
        return Step::Depthwise(depthwise);
    }
    let packing = recipe.packing();
    if packing == Packing::Shared && is_dots(&spec, recipe) {
        return Step::Dots(Dots::new(variant, &spec));
    }
    let mut tiles = Tile::choices(&spec, packing);
    if tiles.is_empty() {
        tiles = Tile::choices(&spec, Packing::Own);
    }
    let tile = *tiles.first().expect("a row has a number of vectors that tiles have");
    Step::Conv(Conv::new(variant, &spec, tile))
}

fn is_dots(spec: &Spec<'_>, recipe: &Recipe<'_>) -> bool {
    Dots::fits(spec.layout) && spec.reach == [0, 0] && recipe.addends.is_empty()
}
