//! A node of an ONNX graph with what it reads.

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
    /// Its place among the outputs.
    pub(crate) at: usize,
    pub(crate) n_outputs: usize,
    /// Inputs in order; those that are left out are `None`.
    pub(crate) inputs: Vec<Option<Value>>,
    pub(crate) attributes: Attributes<'a>,
    /// Version of the operators.
    pub(crate) opset: i64,
}

impl Call<'_> {
    /// An input, if it is there.
    pub(crate) fn optional(&self, at: usize) -> Option<&Value> {
        self.inputs.get(at)?.as_ref()
    }

    /// An input that must be there.
    pub(crate) fn input(&self, at: usize) -> Result<&Value, String> {
        self.optional(at).ok_or_else(|| format!("its input {at} is missing"))
    }

    /// An input that depends on the image.
    pub(crate) fn image(&self, at: usize) -> Result<usize, String> {
        match self.input(at)? {
            Value::Node(node) => Ok(*node),
            _ => Err(format!("its input {at} is a constant, where a value of the image is needed")),
        }
    }

    /// An input of floats that are known.
    pub(crate) fn floats(&self, at: usize) -> Result<(&Rc<str>, &Array<f32>), String> {
        match self.input(at)? {
            Value::Floats(name, array) => Ok((name, array)),
            Value::Sizes(_) => Err(format!("its input {at} is of integers instead of floats")),
            Value::Node(_) => Err(format!(
                "its input {at} depends on the image, where only a constant is supported"
            )),
        }
    }

    /// An input of one float, if it is there.
    pub(crate) fn float(&self, at: usize) -> Result<Option<f32>, String> {
        if self.optional(at).is_none() {
            return Ok(None);
        }
        let (_, array) = self.floats(at)?;
        let many = || format!("its input {at} has shape {:?} instead of one number", array.dims());
        array.single().ok_or_else(many).map(Some)
    }

    /// An input of integers.
    pub(crate) fn sizes(&self, at: usize) -> Result<&Array<Size>, String> {
        match self.input(at)? {
            Value::Sizes(array) => Ok(array),
            Value::Floats(..) => Err(format!("its input {at} is of floats instead of integers")),
            Value::Node(_) => Err(format!(
                "its input {at} depends on the image, where only a constant is supported"
            )),
        }
    }

    /// An input of integers that do not depend on the batch, if it is there.
    pub(crate) fn ints(&self, at: usize) -> Result<Option<Vec<i64>>, String> {
        if self.optional(at).is_none() {
            return Ok(None);
        }
        self.sizes(at)?.values().iter().map(|size| size.known()).collect::<Result<_, _>>().map(Some)
    }

    /// Axes, which are an attribute before a version and an input from then on.
    pub(crate) fn axes(&self, input_since: i64) -> Result<Option<Vec<i64>>, String> {
        match self.opset < input_since {
            true => Ok(self.attributes.ints("axes")?.map(<[i64]>::to_vec)),
            false => self.ints(1),
        }
    }
}

/// The dimension that a number names in a shape of `rank` dimensions; negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let found = from_start.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank);
    found.ok_or_else(|| format!("axis {axis} is outside of a shape of {rank} dimensions"))
}
