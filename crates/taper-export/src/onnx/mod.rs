//! ONNX: the graph with its weights, for runtimes of other makers.

mod external;
mod operator;
mod proto;
mod read;
mod write;

pub(crate) use external::Beside;
pub(crate) use read::Tensors;
pub(crate) use write::bytes;
