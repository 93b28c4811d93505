//! The values of an ONNX graph.

use crate::array::Array;
use std::{fmt, rc::Rc};

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// The result of a node, for each image.
    Node(usize),
    /// Constant floats, with the name for their tensor.
    Floats(Rc<str>, Array<f32>),
    /// Constant integers: shapes, and values computed from them. Only the batch size is not known.
    Sizes(Array<Size>),
}

/// An integer of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// A number.
    Known(i64),
    /// The batch size, which is open.
    Batch,
}

impl Size {
    /// The number.
    ///
    /// # Errors
    /// If it is the batch size.
    pub(crate) fn known(self) -> Result<i64, String> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Batch => Err("it depends on the batch size, which is not fixed".into()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => write!(f, "{value}"),
            Self::Batch => f.write_str("batch"),
        }
    }
}
