//! Operators on constants. PyTorch exports these to compute shapes.

use crate::{
    array::Array,
    budget::Budget,
    call::{Call, axis},
    importer::Importer,
    numbers::DataType,
    stored::Stored,
    value::{Size, Value},
};
use std::rc::Rc;

pub(super) fn constant(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let attributes = &call.attributes;
    let floats = |dims: &[usize], values: Vec<f32>| {
        Array::new(dims, values).map(|array| Value::Floats(call.output.into(), array))
    };
    if let Some(tensor) = attributes.tensor("value")? {
        importer.held(call.output, Stored::Dense(tensor))
    } else if let Some(tensor) = attributes.sparse_tensor("sparse_value")? {
        importer.held(call.output, Stored::Sparse(tensor))
    } else if let Some(value) = attributes.float("value_float")? {
        floats(&[], vec![value])
    } else if let Some(values) = attributes.floats("value_floats")? {
        floats(&[values.len()], values.to_vec())
    } else if let Some(value) = attributes.int("value_int")? {
        Ok(Value::Sizes(Array::scalar(Size::Known(value))))
    } else if let Some(values) = attributes.ints("value_ints")? {
        Budget::check_sizes(&[values.len()])?;
        let sizes: Vec<Size> = values.iter().map(|&v| Size::Known(v)).collect();
        Array::new(&[values.len()], sizes).map(Value::Sizes)
    } else {
        Err("it has no numeric value".into())
    }
}

pub(super) fn constant_of_shape(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let size = |size: i64| {
        usize::try_from(size).map_err(|_| format!("its input 0 holds the negative size {size}"))
    };
    let dims = call.ints(0)?.ok_or("its input 0 is missing")?;
    let dims = dims.into_iter().map(size).collect::<Result<Vec<usize>, String>>()?;
    let value = match call.attributes.tensor("value")? {
        Some(tensor) => importer.held(call.output, Stored::Dense(tensor))?,
        None => Value::Floats(call.output.into(), Array::scalar(0.0)),
    };
    let many = "its value must be one number";
    match value {
        Value::Floats(name, value) => {
            let array = Array::full(&dims, value.single().ok_or(many)?, &mut importer.budget)?;
            Ok(Value::Floats(name, array))
        }
        Value::Sizes(value) => {
            Budget::check_sizes(&dims)?;
            let array = Array::full(&dims, value.single().ok_or(many)?, &mut importer.budget)?;
            Ok(Value::Sizes(array))
        }
        Value::Node(_) => Err(many.into()),
    }
}

pub(super) fn shape(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let known = |dims: &[usize]| dims.iter().map(|&n| Size::Known(n as i64)).collect();
    let sizes: Vec<Size> = match call.input(0)? {
        Value::Node(node) => {
            let image: Vec<Size> = known(importer.dims(*node));
            std::iter::once(Size::Batch).chain(image).collect()
        }
        Value::Floats(_, array) => known(array.dims()),
        Value::Sizes(array) => known(array.dims()),
    };
    let rank = sizes.len() as i64;
    let place = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank) as usize;
    let start = place(call.attributes.int("start")?.unwrap_or(0));
    let end = place(call.attributes.int("end")?.unwrap_or(rank));
    let sizes = sizes.get(start..end).unwrap_or_default();
    Array::new(&[sizes.len()], sizes).map(Value::Sizes)
}

pub(super) fn cast(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    call.attributes.ignore(&["saturate"]);
    let to = call.attributes.int("to")?.ok_or("its attribute `to` is missing")?;
    let to = i32::try_from(to)
        .map_err(|_| format!("it casts to ONNX data type {to}, which is not supported"))?;
    let dtype = DataType::of(to)?;
    let refused = || Err(format!("it casts to {dtype}; export the network in F32"));
    let budget = &mut importer.budget;
    match (call.input(0)?, dtype) {
        (Value::Node(node), DataType::F32) => Ok(Value::Node(*node)),
        (Value::Floats(name, array), DataType::F32 | DataType::F64) => {
            Ok(Value::Floats(Rc::clone(name), array.clone()))
        }
        (Value::Sizes(array), DataType::F32 | DataType::F64) => {
            let array = array.map(budget, |size| size.known().map(|v| v as f32))?;
            Ok(Value::Floats(call.output.into(), array))
        }
        (Value::Floats(_, array), DataType::I32 | DataType::I64) => {
            Budget::check_sizes(array.dims())?;
            let whole = |v: f32| match v.trunc().abs() < -(i64::MIN as f32) {
                true => Ok(Size::Known(v as i64)),
                false => Err(format!("it casts {v}, which {dtype} cannot hold")),
            };
            array.map(budget, whole).map(Value::Sizes)
        }
        (Value::Sizes(array), DataType::I32 | DataType::I64) => Ok(Value::Sizes(array.clone())),
        _ => refused(),
    }
}

pub(super) fn gather(importer: &mut Importer, call: &Call) -> Result<Value, String> {
    let at = call.attributes.int("axis")?.unwrap_or(0);
    let indices = call.sizes(1)?;
    let budget = &mut importer.budget;
    match call.input(0)? {
        Value::Floats(name, array) => {
            Ok(Value::Floats(Rc::clone(name), gathered(array, at, indices, budget)?))
        }
        Value::Sizes(array) => gathered(array, at, indices, budget).map(Value::Sizes),
        Value::Node(_) => Err(of_image()),
    }
}

fn gathered<T: Copy>(
    array: &Array<T>,
    at: i64,
    indices: &Array<Size>,
    budget: &mut Budget,
) -> Result<Array<T>, String> {
    let dims = array.dims();
    let at = axis(at, dims.len())?;
    let mut parts = Vec::with_capacity(indices.values().len());
    for index in indices.values().iter() {
        let index = axis(index.known()?, dims[at]).map_err(|_| {
            format!("its index {index} is outside of a dimension of size {}", dims[at])
        })?;
        parts.push(array.slice(at, index, 1, 1, budget)?);
    }
    let shape = [&dims[..at], indices.dims(), &dims[at + 1..]].concat();
    match parts.is_empty() {
        true => Array::new(&shape, Vec::new()),
        false => Array::concat(&parts, at, budget)?.reshaped(&shape),
    }
}

fn of_image() -> String {
    "its input 0 depends on the image, but only constants and shapes are supported".into()
}
