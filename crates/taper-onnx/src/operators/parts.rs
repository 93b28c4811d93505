//! Slice and Split: of constants and shapes along any dimension, of images along channels.

use crate::{
    array::Array,
    budget::Budget,
    call::{Call, axis},
    importer::Importer,
    value::Value,
};
use std::rc::Rc;
use taper_graph::{Conv, Op, Window};

pub(super) fn slice(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let starts = call.ints(1)?.ok_or("its starts are missing")?;
    let ends = call.ints(2)?.ok_or("its ends are missing")?;
    let axes = call.ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("its starts, ends, axes and steps differ in number".into());
    }
    let ranges = starts.iter().zip(ends).zip(axes).zip(steps);
    let ranges = ranges.map(|(((&start, end), axis), step)| Range { start, end, axis, step });
    parts(importer, call, &ranges.collect::<Vec<Range>>())
}

/// One output of a split: `call.at`.
pub(super) fn split(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let n_outputs = call.n_outputs;
    Budget::check_sizes(&[n_outputs])?;
    let (dims, has_batch) = match call.input(0)? {
        Value::Node(node) => (importer.dims(*node), true),
        Value::Floats(_, array) => (array.dims(), false),
        Value::Sizes(array) => (array.dims(), false),
    };
    let along = call.attributes.int("axis")?.unwrap_or(0);
    let at = axis(along, dims.len() + usize::from(has_batch))?;
    let size = match at.checked_sub(usize::from(has_batch)) {
        Some(at) => dims[at],
        None => {
            return Err(
                "it takes a part of the batch, but only dimensions of the image are supported"
                    .into(),
            );
        }
    };
    call.attributes.ignore(&["num_outputs"]);
    let given = match call.opset < 13 {
        true => call.attributes.ints("split")?.map(<[i64]>::to_vec),
        false => call.ints(1)?,
    };
    // Equal parts; the last may be smaller.
    let each = size.div_ceil(n_outputs);
    let equal = || (0..n_outputs).map(|i| size.saturating_sub(i * each).min(each) as i64).collect();
    let sizes: Vec<i64> = given.unwrap_or_else(equal);
    let sum = sizes.iter().try_fold(0i64, |sum, &n| sum.checked_add(n).filter(|_| n >= 0));
    if sizes.len() != n_outputs || sum != i64::try_from(size).ok() {
        return Err(format!(
            "parts of {sizes:?} for {n_outputs} outputs do not fit a size of {size}"
        ));
    }
    let start = sizes[..call.at].iter().sum();
    let range = Range { start, end: start + sizes[call.at], axis: along, step: 1 };
    parts(importer, call, &[range])
}

/// Applies ranges of different dimensions to the first input.
fn parts(importer: &mut Importer, call: &Call, ranges: &[Range]) -> Result<Value, String> {
    let budget = &mut importer.budget;
    let node = match call.input(0)? {
        Value::Floats(name, array) => {
            return Ok(Value::Floats(Rc::clone(name), each(array, ranges, budget)?));
        }
        Value::Sizes(array) => return each(array, ranges, budget).map(Value::Sizes),
        Value::Node(node) => *node,
    };
    let dims = importer.dims(node).to_vec();
    let mut channels = None;
    for range in ranges {
        match axis(range.axis, dims.len() + 1)? {
            // The batch size is unknown, so only the full range is valid.
            0 if range.start == 0 && range.step == 1 && range.end >= i64::from(i32::MAX) => {}
            0 => {
                return Err(
                    "it takes a part of the batch, but only dimensions of the image are supported"
                        .into(),
                );
            }
            at => match (at, range.bounds(dims[at - 1])?) {
                (_, (0, n)) if n == dims[at - 1] && range.step == 1 => {}
                (1, bounds) if channels.is_none() => channels = Some((bounds, range.step)),
                _ => {
                    return Err(
                        "it takes a part of rows or columns, but only one range of channels is supported"
                            .into(),
                    );
                }
            },
        }
    }
    match channels {
        Some(((first, n), step)) => {
            let channel = |i: usize| first.wrapping_add_signed(i as isize * step as isize);
            selected(importer, call, node, n, channel)
        }
        None => Ok(Value::Node(node)),
    }
}

/// Selects channels with a convolution or linear layer. Each output has one weight of 1, and weights of 0 are skipped.
fn selected(
    importer: &mut Importer,
    call: &Call,
    node: usize,
    n: usize,
    channel: impl Fn(usize) -> usize,
) -> Result<Value, String> {
    let dims = importer.dims(node);
    let (width, is_plane) = match *dims {
        [width] => (width, false),
        [width, _, _] => (width, true),
        _ => {
            return Err(format!(
                "it takes channels of an unsupported shape {dims:?} for each image"
            ));
        }
    };
    if n == 0 {
        return Err("it takes no channels".into());
    }
    let mut weight = vec![0.0; importer.budget.take(&[n, width])?];
    (0..n).for_each(|i| weight[i * width + channel(i)] = 1.0);
    let dims = if is_plane { vec![n, width, 1, 1] } else { vec![n, width] };
    let name = Rc::from(format!("{}.channels", call.output));
    let weight = importer.tensor(&name, &Array::new(&dims, weight)?)?;
    let op = match is_plane {
        true => Op::Conv(Conv::new(weight, Window::square(1, 1, 0))),
        false => Op::Linear { weight, bias: None },
    };
    importer.push(op, &[node])
}

fn each<T: Copy>(
    array: &Array<T>,
    ranges: &[Range],
    budget: &mut Budget,
) -> Result<Array<T>, String> {
    ranges.iter().try_fold(array.clone(), |array, range| range.of(&array, budget))
}

/// A range of a dimension.
struct Range {
    start: i64,
    end: i64,
    axis: i64,
    step: i64,
}

impl Range {
    /// The first index in a dimension of this size, and the number of elements.
    fn bounds(&self, size: usize) -> Result<(usize, usize), String> {
        let size = size as i64;
        let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end) = (place(self.start), place(self.end));
        // Rounded up, as the last step may be incomplete.
        let count = |reach: i64, step: u64| (reach.max(0) as u64).div_ceil(step) as usize;
        let (start, n) = match self.step {
            0 => return Err("its step is 0".into()),
            step if step > 0 => {
                let (start, end) = (start.clamp(0, size), end.clamp(0, size));
                (start, count(end - start, step.unsigned_abs()))
            }
            step => {
                let last = (size - 1).max(0);
                let (start, end) = (start.clamp(0, last), end.clamp(-1, last));
                let reach = if size == 0 { 0 } else { start - end };
                (start, count(reach, step.unsigned_abs()))
            }
        };
        Ok((start as usize, n))
    }

    fn of<T: Copy>(&self, array: &Array<T>, budget: &mut Budget) -> Result<Array<T>, String> {
        let at = axis(self.axis, array.dims().len())?;
        let (start, n) = self.bounds(array.dims()[at])?;
        array.slice(at, start, n, self.step as isize, budget)
    }
}
