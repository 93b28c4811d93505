//! Nearest-neighbour upsampling by whole factors.

use crate::{
    call::{Call, axis},
    importer::Importer,
    value::{Size, Value},
};
use taper_graph::Op;

pub(super) fn resize(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let node = call.image(0)?;
    let &[channels, rows, columns] = importer.dims(node) else {
        let dims = importer.dims(node);
        return Err(format!(
            "its input has shape {dims:?} for each image instead of [channels, rows, columns]"
        ));
    };
    let attributes = &call.attributes;
    // These affect only other modes.
    attributes.ignore(&["cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias"]);
    let text = |name: &str, default| Ok::<_, String>(attributes.text(name)?.unwrap_or(default));
    let mode = text("mode", "nearest")?;
    let coordinates = text("coordinate_transformation_mode", "half_pixel")?;
    let rounding = text("nearest_mode", "round_prefer_floor")?;
    let policy = text("keep_aspect_ratio_policy", "stretch")?;
    let axes = attributes.ints("axes")?.unwrap_or(&[0, 1, 2, 3]);
    let places = axes.iter().map(|&at| axis(at, 4)).collect::<Result<Vec<usize>, String>>()?;

    let is_there = |at: usize| match call.optional(at) {
        Some(Value::Floats(_, array)) => !array.values().is_empty(),
        Some(_) => true,
        None => false,
    };
    let factors: Vec<Option<usize>> = match (is_there(2), is_there(3)) {
        (true, false) => {
            let (_, scales) = call.floats(2)?;
            scales.values().iter().map(|&scale| whole(scale)).collect()
        }
        (false, true) => {
            let sizes = call.sizes(3)?.values();
            let old = [importer.batch.unwrap_or(0), channels, rows, columns];
            let factor = |(&size, &at): (&Size, &usize)| match size {
                Size::Batch if at == 0 => Some(1),
                Size::Batch => None,
                Size::Known(size) => {
                    let factor = usize::try_from(size).ok()?.checked_div(old[at])?;
                    (factor * old[at] == size as usize).then_some(factor)
                }
            };
            let factors = sizes.iter().zip(&places).map(factor).collect();
            if sizes.len() != places.len() {
                return Err(format!("it has {} sizes for {} axes", sizes.len(), places.len()));
            }
            factors
        }
        _ => return Err("it needs either scales or sizes".into()),
    };
    if factors.len() != places.len() {
        return Err(format!("it has {} scales for {} axes", factors.len(), places.len()));
    }
    let mut all = [1; 4];
    for (&at, factor) in places.iter().zip(factors) {
        all[at] = factor.filter(|&factor| factor >= 1 && (at >= 2 || factor == 1)).ok_or_else(|| {
            format!("its scale along axis {at} is not supported; rows and columns need whole factors, batch and channels a factor of 1")
        })?;
    }
    let factors = [all[2], all[3]];
    if factors == [1; 2] {
        return Ok(Value::Node(node));
    }
    let repeats = matches!(
        (coordinates, rounding),
        ("asymmetric", "floor")
            | (
                "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric",
                "round_prefer_floor" | "round_prefer_ceil"
            )
    );
    match mode == "nearest" && repeats && policy == "stretch" {
        true => importer.push(Op::Upsample { factors }, &[node]),
        false => Err(format!(
            "its mode is `{mode}` with `{coordinates}`, `{rounding}` and `{policy}`; only nearest upsampling that repeats pixels is supported"
        )),
    }
}

/// The scale as a whole factor, if it is one.
fn whole(scale: f32) -> Option<usize> {
    (scale == scale.trunc() && (1.0..=65_536.0).contains(&scale)).then_some(scale as usize)
}
