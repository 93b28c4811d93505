//! ONNX export and import: the graph with its weights, for other runtimes.

mod operator;
mod parts;
mod read;
mod repeats;
mod write;

pub(crate) use read::Tensors;
pub(crate) use repeats::Repeats;
pub(crate) use write::bytes;
