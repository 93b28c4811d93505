//! Operators that reduce a plane to one number.

use super::form::reshaped;
use crate::{
    call::{Call, axis},
    importer::Importer,
    sizes::n_elements,
    value::Value,
};
use std::collections::BTreeSet;
use taper_graph::Op;

pub(super) fn global_average(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    importer.push(Op::GlobalAverage, &[call.image(0)?])
}

pub(super) fn global_max(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    importer.push(Op::GlobalMax, &[call.image(0)?])
}

pub(super) fn reduce_mean(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    reduced(importer, call, Op::GlobalAverage)
}

pub(super) fn reduce_max(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    reduced(importer, call, Op::GlobalMax)
}

/// Reduces all dimensions after the channels to one number.
fn reduced(importer: &mut Importer, call: &Call, op: Op) -> Result<Value, String> {
    let node = call.image(0)?;
    let mut dims = importer.dims(node).to_vec();
    let rank = dims.len() + 1;
    call.attributes.ignore(&["noop_with_empty_axes"]);
    let axes = call.axes(18)?.unwrap_or_default();
    let found =
        axes.iter().map(|&at| axis(at, rank)).collect::<Result<BTreeSet<usize>, String>>()?;
    if rank < 3 || found != (2..rank).collect() {
        return Err(format!(
            "it reduces axes {axes:?} of a value of {rank} dimensions, but must reduce exactly the axes after the channels"
        ));
    }
    let keeps = call.attributes.flag("keepdims", true)?;
    let pixels = n_elements(&dims[1..]).ok_or("its input is too large")?;
    let plane = match dims.len() {
        3 => node,
        _ => importer.add(Op::Reshape(vec![dims[0], pixels, 1]), &[node])?,
    };
    let mean = importer.add(op, &[plane])?;
    dims.truncate(if keeps { dims.len() } else { 1 });
    dims.iter_mut().skip(1).for_each(|size| *size = 1);
    reshaped(importer, mean, dims)
}
