//! Inference of one image: planes of pixels in one arena, with columns in the SIMD lanes.

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

#[cfg(feature = "training")]
pub(crate) use conv::AllWeights;
pub use conv::{PlaneConv, Tile};
pub use depthwise::Depthwise;
pub use dots::Dots;
pub use layout::Layout;
pub use map::{Function, Map, Pairs, Pairwise, PixelCopy, Softmax};
pub use pool::{GlobalPool, Pool, Reduce};
pub use remap::{ReadFrom, Remap};
pub use spec::{Columns, ConvSpec, Epilogue, Output, Outputs, TapLists, WeightedPixel, WindowKind};
pub use split::ParitySplit;

pub use crate::simd::flush;
