//! Arithmetic on values of the image, constants and shapes.

use crate::{
    array::Array,
    budget::Budget,
    call::Call,
    importer::Importer,
    value::{Size, Value},
};
use std::rc::Rc;
use taper_graph::{ActivationFn, Op};

pub(super) fn add(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    binary(importer, call, Op::Add, |a, b| a + b, i64::checked_add, 0)
}

pub(super) fn mul(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    binary(importer, call, Op::Multiply, |a, b| a * b, i64::checked_mul, 1)
}

/// Computed as a sum with the negative.
pub(super) fn sub(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    if let Some(value) = constants(importer, call, |a, b| a - b, i64::checked_sub, Some(0))? {
        return Ok(value);
    }
    let negative = match call.input(1)? {
        Value::Floats(name, array) => {
            let array = array.map(&mut importer.budget, |v| Ok(-v))?;
            Value::Floats(Rc::clone(name), array)
        }
        other => {
            let minus = Value::Floats("minus_one".into(), Array::scalar(-1.0));
            of_image(importer, Op::Multiply, other, &minus)?
        }
    };
    of_image(importer, Op::Add, call.input(0)?, &negative)
}

/// Computed as a product with −1.
pub(super) fn neg(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let budget = &mut importer.budget;
    match call.input(0)? {
        Value::Floats(name, array) => {
            Ok(Value::Floats(Rc::clone(name), array.map(budget, |v| Ok(-v))?))
        }
        Value::Sizes(array) => {
            let negative = |size: Size| {
                let size = size.known()?;
                let failed = || format!("−{size} does not fit 64 bits");
                size.checked_neg().ok_or_else(failed).map(Size::Known)
            };
            array.map(budget, negative).map(Value::Sizes)
        }
        image @ Value::Node(_) => {
            let minus = Value::Floats("minus_one".into(), Array::scalar(-1.0));
            of_image(importer, Op::Multiply, image, &minus)
        }
    }
}

/// The larger of an element and a number.
pub(super) fn max(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    bounded(importer, call, f32::max, i64::max, |min| ActivationFn::Clip {
        min,
        max: f32::INFINITY,
    })
}

/// The smaller of an element and a number.
pub(super) fn min(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let below = |max| ActivationFn::Clip { min: f32::NEG_INFINITY, max };
    bounded(importer, call, f32::min, i64::min, below)
}

/// The larger or smaller of two constants, or of a value of the image and a number.
fn bounded(
    importer: &mut Importer,
    call: &Call,
    floats: fn(f32, f32) -> f32,
    sizes: fn(i64, i64) -> i64,
    by: impl Fn(f32) -> ActivationFn,
) -> Result<Value, String> {
    if call.inputs.len() == 1 {
        return call.input(0).cloned();
    }
    let exact = |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { floats(a, b) };
    if let Some(value) = constants(importer, call, exact, |a, b| Some(sizes(a, b)), None)? {
        return Ok(value);
    }
    let (node, bound) = match (call.input(0)?, call.input(1)?) {
        (Value::Node(node), Value::Floats(_, bound))
        | (Value::Floats(_, bound), Value::Node(node)) => (*node, bound.single()),
        _ => (0, None),
    };
    match bound {
        Some(bound) if !bound.is_nan() => importer.push(Op::Activation(by(bound)), &[node]),
        _ => Err("only a value and one number that is not NaN are supported".into()),
    }
}

/// `x` where it is at least 0, else `slope·x`, with one slope or one for each channel.
pub(super) fn prelu(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let (name, slopes) = call.floats(1)?;
    let x = call.image(0)?;
    if let Some(slope) = slopes.single() {
        return importer.push(Op::Activation(ActivationFn::LeakyRelu { slope }), &[x]);
    }
    let slopes = Value::Floats(Rc::clone(name), slopes.clone());
    let negative = ActivationFn::Clip { min: f32::NEG_INFINITY, max: 0.0 };
    let negative = importer.push(Op::Activation(negative), &[x])?;
    let scaled = of_image(importer, Op::Multiply, &negative, &slopes)?;
    let positive = importer.push(Op::Activation(ActivationFn::Relu), &[x])?;
    of_image(importer, Op::Add, &positive, &scaled)
}

/// Computed as a product with the reciprocal.
pub(super) fn div(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    // Integers are rounded towards 0.
    if let Some(value) = constants(importer, call, |a, b| a / b, i64::checked_div, Some(1))? {
        return Ok(value);
    }
    let (name, array) = call.floats(1)?;
    let reciprocal = |v: f32| match 1.0 / v {
        by if by.is_finite() => Ok(by),
        _ => Err(format!("it divides by {v}, but 1/{v} does not fit f32")),
    };
    let reciprocals = array.map(&mut importer.budget, reciprocal)?;
    let reciprocals = Value::Floats(Rc::clone(name), reciprocals);
    of_image(importer, Op::Multiply, call.input(0)?, &reciprocals)
}

pub(super) fn floor(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let (name, array) = call.floats(0)?;
    let array = array.map(&mut importer.budget, |v| Ok(v.floor()))?;
    Ok(Value::Floats(Rc::clone(name), array))
}

/// An operation on two constants, or on a value of the image and another value.
fn binary(
    importer: &mut Importer,
    call: &Call,
    op: Op,
    floats: fn(f32, f32) -> f32,
    sizes: fn(i64, i64) -> Option<i64>,
    neutral: i64,
) -> Result<Value, String> {
    match constants(importer, call, floats, sizes, Some(neutral))? {
        Some(value) => Ok(value),
        None => of_image(importer, op, call.input(0)?, call.input(1)?),
    }
}

/// The result if both inputs are constants. The batch size can only be combined with the neutral number, which keeps
/// it.
fn constants(
    importer: &mut Importer,
    call: &Call,
    floats: impl Fn(f32, f32) -> f32,
    sizes: impl Fn(i64, i64) -> Option<i64>,
    neutral: Option<i64>,
) -> Result<Option<Value>, String> {
    let budget: &mut Budget = &mut importer.budget;
    Ok(match (call.input(0)?, call.input(1)?) {
        (Value::Floats(name, a), Value::Floats(_, b)) => {
            let array = a.zip(b, budget, |a, b| Ok(floats(a, b)))?;
            Some(Value::Floats(Rc::clone(name), array))
        }
        (Value::Sizes(a), Value::Sizes(b)) => {
            let compute = |a: Size, b: Size| match (a, b) {
                (Size::Batch, Size::Known(n)) if Some(n) == neutral => Ok(Size::Batch),
                (a, b) => {
                    let (a, b) = (a.known()?, b.known()?);
                    let failed =
                        || format!("the result for {a} and {b} is not an integer of 64 bits");
                    sizes(a, b).ok_or_else(failed).map(Size::Known)
                }
            };
            Some(Value::Sizes(a.zip(b, budget, compute)?))
        }
        _ => None,
    })
}

/// An operation on two values. At least one depends on the image.
fn of_image(importer: &mut Importer, op: Op, a: &Value, b: &Value) -> Result<Value, String> {
    let rank = match (a, b) {
        (Value::Node(a), Value::Node(b)) => {
            let (x, y) = (importer.dims(*a), importer.dims(*b));
            if x.len() != y.len() {
                return Err(format!(
                    "its inputs have shapes {x:?} and {y:?} for each image, but must have equal rank"
                ));
            }
            x.len()
        }
        (Value::Node(node), _) | (_, Value::Node(node)) => importer.dims(*node).len(),
        _ => return Err("it mixes floats and integers".into()),
    };
    let mut operand = |value: &Value| match value {
        Value::Node(node) => Ok(*node),
        Value::Floats(name, array) => {
            let dims = aligned(array.dims(), rank)?;
            importer.constant(name, &array.reshaped(&dims)?)
        }
        Value::Sizes(_) => Err("it mixes a value of the image and integers".into()),
    };
    let (a, b) = (operand(a)?, operand(b)?);
    importer.push(op, &[a, b])
}

/// The shape of a constant for an image of `rank` dimensions: without a batch size of 1, and with sizes of 1 in front.
fn aligned(dims: &[usize], rank: usize) -> Result<Vec<usize>, String> {
    let image = match dims {
        [1, image @ ..] if dims.len() > rank => image,
        dims => dims,
    };
    let missing = rank.checked_sub(image.len());
    let missing = missing.ok_or_else(|| {
        format!("its constant has shape {dims:?}, but its other input has only {rank} dimensions for each image")
    })?;
    Ok([&vec![1; missing][..], image].concat())
}
