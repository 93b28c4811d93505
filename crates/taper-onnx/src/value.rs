//! What an edge of an ONNX graph carries.

use crate::array::Array;
use std::{fmt, rc::Rc};

/// A value of a name.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// What a node of the graph computes for each image.
    Node(usize),
    /// Floats that are known, with the name that their tensor gets.
    Floats(Rc<str>, Array<f32>),
    /// Integers that are known, but for the size of the batch: shapes and what is computed from them.
    Sizes(Array<Size>),
}

/// An integer of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// A number.
    Known(i64),
    /// The number of images, which may be any.
    Batch,
}

impl Size {
    /// The number.
    ///
    /// # Errors
    /// If it is that of the batch.
    pub(crate) fn known(self) -> Result<i64, String> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Batch => Err("it depends on the size of the batch, which is not fixed".into()),
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
