//! ONNX: the graph with its weights, for runtimes of other makers.

mod operator;
mod parts;
mod read;
mod repeats;
mod write;

pub(crate) use read::Tensors;
pub(crate) use repeats::Repeats;
pub(crate) use write::bytes;
