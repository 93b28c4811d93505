//! Operators that change only the shape, and concatenation.

use crate::{
    array::Array,
    call::{Call, axis},
    importer::Importer,
    sizes::n_elements,
    value::{Size, Value},
};
use std::rc::Rc;
use taper_graph::Op;

/// Reshapes the value of a node.
pub(super) fn reshaped(
    importer: &mut Importer,
    node: usize,
    dims: Vec<usize>,
) -> Result<Value, String> {
    match importer.dims(node) == dims {
        true => Ok(Value::Node(node)),
        false => importer.push(Op::Reshape(dims), &[node]),
    }
}

/// Reshapes a constant.
fn known(value: &Value, dims: &[usize]) -> Result<Value, String> {
    match value {
        Value::Floats(name, array) => Ok(Value::Floats(Rc::clone(name), array.reshaped(dims)?)),
        Value::Sizes(array) => array.reshaped(dims).map(Value::Sizes),
        Value::Node(_) => Err("it depends on the image, but must be a constant".into()),
    }
}

/// The shape of a value with a batch dimension of 1. The batch size does not matter here.
fn with_batch(dims: &[usize]) -> Vec<usize> {
    [&[1], dims].concat()
}

/// Shape of a value, with a batch dimension if the value depends on the image.
fn dims_of(importer: &Importer, value: &Value) -> Vec<usize> {
    match value {
        Value::Node(node) => with_batch(importer.dims(*node)),
        Value::Floats(_, array) => array.dims().to_vec(),
        Value::Sizes(array) => array.dims().to_vec(),
    }
}

/// Reshapes a value. If the value depends on the image, the first dimension is the batch.
fn give(importer: &mut Importer, value: &Value, dims: &[usize]) -> Result<Value, String> {
    match (value, dims) {
        (Value::Node(node), [1, image @ ..]) => reshaped(importer, *node, image.to_vec()),
        (Value::Node(_), _) => Err("it moves the batch dimension".into()),
        (value, dims) => known(value, dims),
    }
}

pub(super) fn reshape(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let keeps_zero = call.attributes.flag("allowzero", false)?;
    let wanted = call.sizes(1)?;
    let value = call.input(0)?;
    let shown = || {
        let sizes: Vec<String> = wanted.values().iter().map(Size::to_string).collect();
        format!(
            "a value of shape {:?} cannot be reshaped to [{}]",
            dims_of(importer, value),
            sizes.join(", ")
        )
    };
    let Value::Node(node) = value else {
        let sizes = wanted.values().iter().map(|size| size.known());
        let sizes = sizes.collect::<Result<Vec<i64>, String>>()?;
        let dims = filled(&sizes, &dims_of(importer, value), keeps_zero).ok_or_else(shown)?;
        return known(value, &dims);
    };
    let dims = importer.dims(*node);
    let n = n_elements(dims);
    let of_image = || -> Option<Vec<usize>> {
        let (first, rest) = wanted.values().split_first()?;
        let rest = rest.iter().map(|size| size.known().ok()).collect::<Option<Vec<i64>>>()?;
        let is_batch = match *first {
            Size::Batch => true,
            Size::Known(0) => !keeps_zero,
            // This is the batch size, if no other size is open.
            Size::Known(-1) => !rest.contains(&-1),
            Size::Known(n) => usize::try_from(n).is_ok_and(|n| importer.batch == Some(n)),
        };
        let filled = filled(&rest, dims, keeps_zero)?;
        (is_batch && n_elements(&filled) == n).then_some(filled)
    };
    let dims = of_image().ok_or_else(|| shown() + "; the batch must stay the first dimension")?;
    reshaped(importer, *node, dims)
}

/// Replaces −1 by the number of remaining elements, and 0 by the size of `dims` at the same index.
fn filled(sizes: &[i64], dims: &[usize], keeps_zero: bool) -> Option<Vec<usize>> {
    let mut found = Vec::with_capacity(sizes.len());
    let mut open = None;
    for (i, &size) in sizes.iter().enumerate() {
        found.push(match size {
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            0 if !keeps_zero => *dims.get(i)?,
            size => usize::try_from(size).ok()?,
        });
    }
    if let Some(open) = open {
        let (n, rest) = (n_elements(dims)?, n_elements(&found)?);
        found[open] = n.checked_div(rest).filter(|each| each * rest == n)?;
    }
    Some(found)
}

pub(super) fn flatten(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let value = call.input(0)?;
    let dims = dims_of(importer, value);
    let at = call.attributes.int("axis")?.unwrap_or(1);
    // The axis may be the rank.
    let at = if at == dims.len() as i64 { dims.len() } else { axis(at, dims.len())? };
    let count = |dims: &[usize]| n_elements(dims).ok_or("its input is too large");
    let dims = [count(&dims[..at])?, count(&dims[at..])?];
    match (value, at) {
        (Value::Node(_), 1) | (Value::Floats(..) | Value::Sizes(_), _) => {
            give(importer, value, &dims)
        }
        _ => Err(format!("it flattens from axis {at}, but only axis 1 is supported")),
    }
}

pub(super) fn squeeze(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let value = call.input(0)?;
    let dims = dims_of(importer, value);
    let axes = call.axes(13)?;
    let mut leaves_out = vec![false; dims.len()];
    match (&axes, value) {
        (Some(axes), _) => {
            for &at in axes {
                let at = axis(at, dims.len())?;
                if dims[at] != 1 {
                    return Err(format!(
                        "it removes axis {at} of shape {dims:?}, but can only remove sizes of 1"
                    ));
                }
                leaves_out[at] = true;
            }
        }
        (None, Value::Node(_)) => {
            return Err("it has no axes, so it could remove the batch; export it with axes".into());
        }
        (None, _) => leaves_out = dims.iter().map(|&size| size == 1).collect(),
    }
    if matches!(value, Value::Node(_)) && leaves_out[0] {
        return Err("it removes the batch dimension".into());
    }
    let kept = dims.iter().zip(leaves_out).filter(|(_, out)| !out).map(|(&size, _)| size);
    let kept: Vec<usize> = kept.collect();
    give(importer, value, &kept)
}

pub(super) fn unsqueeze(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let value = call.input(0)?;
    let axes = call.axes(13)?.ok_or("its axes are missing")?;
    let old = dims_of(importer, value);
    let rank = old.len().saturating_add(axes.len());
    let mut is_new = vec![false; rank];
    for at in axes {
        let at = axis(at, rank)?;
        if std::mem::replace(&mut is_new[at], true) {
            return Err(format!("its axis {at} occurs twice"));
        }
    }
    if matches!(value, Value::Node(_)) && is_new[0] {
        return Err("it adds a dimension before the batch".into());
    }
    let mut old = old.into_iter();
    let dims: Option<Vec<usize>> =
        is_new.into_iter().map(|is_new| if is_new { Some(1) } else { old.next() }).collect();
    give(importer, value, &dims.ok_or("its axes do not fit its input")?)
}

pub(super) fn transpose(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let value = call.input(0)?;
    let dims = dims_of(importer, value);
    let order = match call.attributes.ints("perm")? {
        Some(order) => {
            order.iter().map(|&at| axis(at, dims.len())).collect::<Result<Vec<usize>, String>>()?
        }
        None => (0..dims.len()).rev().collect(),
    };
    match value {
        Value::Floats(name, array) => {
            let array = array.transposed(&order, &mut importer.budget)?;
            Ok(Value::Floats(Rc::clone(name), array))
        }
        Value::Sizes(array) => array.transposed(&order, &mut importer.budget).map(Value::Sizes),
        // The elements keep their order if only dimensions of size 1 move.
        Value::Node(node) => {
            let long = order.iter().filter(|&&at| dims[at] != 1);
            let moves = order.first() != Some(&0) || order.len() != dims.len() || !long.is_sorted();
            match moves {
                true => Err(format!(
                    "it reorders the dimensions {dims:?} of a value of the image by {order:?}, but only constants are supported"
                )),
                false => {
                    let dims = order.iter().skip(1).map(|&at| dims[at]).collect();
                    reshaped(importer, *node, dims)
                }
            }
        }
    }
}

pub(super) fn concat(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let at = call.attributes.int("axis")?.ok_or("its attribute `axis` is missing")?;
    let first = call.input(0)?;
    let at = axis(at, dims_of(importer, first).len())?;
    let n = call.inputs.len();
    match first {
        Value::Node(_) => {
            let nodes = (0..n).map(|i| call.image(i)).collect::<Result<Vec<usize>, String>>()?;
            match at {
                1 if n == 1 => Ok(first.clone()),
                1 => importer.push(Op::Concat, &nodes),
                _ => Err(format!(
                    "it concatenates along axis {at}, but only axis 1 (channels) is supported"
                )),
            }
        }
        Value::Floats(name, _) => {
            let arrays = (0..n).map(|i| call.floats(i).map(|(_, array)| array.clone()));
            let arrays = arrays.collect::<Result<Vec<Array<f32>>, String>>()?;
            let array = Array::concat(&arrays, at, &mut importer.budget)?;
            Ok(Value::Floats(Rc::clone(name), array))
        }
        Value::Sizes(_) => {
            let arrays = (0..n).map(|i| call.sizes(i).cloned());
            let arrays = arrays.collect::<Result<Vec<Array<Size>>, String>>()?;
            Array::concat(&arrays, at, &mut importer.budget).map(Value::Sizes)
        }
    }
}

/// Broadcasts a constant to a larger shape. If the shape begins with the batch, the constant is the same for all
/// images.
pub(super) fn expand(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let (name, array) = call.floats(0)?;
    let wanted = call.sizes(1)?.values();
    let (has_batch, image) = match wanted.split_first() {
        Some((Size::Batch, image)) => (true, image),
        _ => (false, &wanted[..]),
    };
    let size = |size: &Size| {
        let known = size.known()?;
        usize::try_from(known).map_err(|_| format!("it expands to the negative size {known}"))
    };
    let dims = image.iter().map(size).collect::<Result<Vec<usize>, String>>()?;
    let array = array.broadcast_to(&dims, &mut importer.budget)?;
    match has_batch {
        false => Ok(Value::Floats(Rc::clone(name), array)),
        true if array.dims().len() == dims.len() => {
            importer.constant(name, &array).map(Value::Node)
        }
        true => {
            let dims = array.dims();
            Err(format!(
                "its constant of shape {dims:?} has too many dimensions to add the batch in front"
            ))
        }
    }
}
