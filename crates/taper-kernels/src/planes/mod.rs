//! Inference of one image: planes of pixels with columns in the lanes of vectors, in one arena.

mod conv;
mod depthwise;
mod dots;
mod layout;
mod map;
mod pool;
mod remap;
mod spec;
mod split;
#[cfg(test)]
mod testing;
mod tile;

pub use conv::{Conv, Tile};
pub use depthwise::Depthwise;
pub use dots::Dots;
pub use layout::Layout;
pub use map::{Function, Gather, Map, Pairs, Pairwise, Softmax};
pub use pool::{Global, Pool, Reduce};
pub use remap::{Origin, Remap};
pub use spec::{Columns, Finish, Output, Outputs, Packing, Source, Spec, Windows};
pub use split::Split;

pub use crate::simd::flush;
