//! A node of an ONNX graph with its inputs.

use crate::{
    array::Array,
    attributes::Attributes,
    value::{Size, Value},
};
use std::rc::Rc;

/// An operator, its inputs and its attributes.
pub(crate) struct Call<'a> {
    /// Name of the output that is computed.
    pub(crate) output: &'a str,
    /// Its index among the outputs.
    pub(crate) at: usize,
    pub(crate) n_outputs: usize,
    /// Whether an output besides the first has a name.
    pub(crate) has_further_outputs: bool,
    /// Inputs in order; omitted inputs are `None`.
    pub(crate) inputs: Vec<Option<Value>>,
    pub(crate) attributes: Attributes<'a>,
    /// Opset version.
    pub(crate) opset: i64,
}

impl Call<'_> {
    /// An optional input.
    pub(crate) fn optional(&self, at: usize) -> Option<&Value> {
        self.inputs.get(at)?.as_ref()
    }

    /// A required input.
    pub(crate) fn input(&self, at: usize) -> Result<&Value, String> {
        self.optional(at).ok_or_else(|| format!("its input {at} is missing"))
    }

    /// An input that depends on the image.
    pub(crate) fn image(&self, at: usize) -> Result<usize, String> {
        match self.input(at)? {
            Value::Node(node) => Ok(*node),
            _ => Err(format!("its input {at} is a constant, but must depend on the image")),
        }
    }

    /// An input of constant floats.
    pub(crate) fn floats(&self, at: usize) -> Result<(&Rc<str>, &Array<f32>), String> {
        match self.input(at)? {
            Value::Floats(name, array) => Ok((name, array)),
            Value::Sizes(_) => Err(format!("its input {at} has integers instead of floats")),
            Value::Node(_) => Err(format!(
                "its input {at} depends on the image, but only a constant is supported"
            )),
        }
    }

    /// An optional input of one constant float.
    pub(crate) fn float(&self, at: usize) -> Result<Option<f32>, String> {
        if self.optional(at).is_none() {
            return Ok(None);
        }
        let (_, array) = self.floats(at)?;
        let many = || format!("its input {at} has shape {:?} instead of one number", array.dims());
        array.single().ok_or_else(many).map(Some)
    }

    /// An input of constant integers.
    pub(crate) fn sizes(&self, at: usize) -> Result<&Array<Size>, String> {
        match self.input(at)? {
            Value::Sizes(array) => Ok(array),
            Value::Floats(..) => Err(format!("its input {at} has floats instead of integers")),
            Value::Node(_) => Err(format!(
                "its input {at} depends on the image, but only a constant is supported"
            )),
        }
    }

    /// An optional input of constant integers that do not depend on the batch size.
    pub(crate) fn ints(&self, at: usize) -> Result<Option<Vec<i64>>, String> {
        if self.optional(at).is_none() {
            return Ok(None);
        }
        self.sizes(at)?.values().iter().map(|size| size.known()).collect::<Result<_, _>>().map(Some)
    }

    /// Axes: an attribute before opset `input_since`, an input from this version on.
    pub(crate) fn axes(&self, input_since: i64) -> Result<Option<Vec<i64>>, String> {
        match self.opset < input_since {
            true => Ok(self.attributes.ints("axes")?.map(<[i64]>::to_vec)),
            false => self.ints(1),
        }
    }
}

/// Index of a dimension in a shape of `rank` dimensions. Negative numbers count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let found = from_start.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank);
    found.ok_or_else(|| format!("axis {axis} is outside of a shape of {rank} dimensions"))
}
