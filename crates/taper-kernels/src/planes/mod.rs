//! Inference of one image: planes of pixels with columns in the lanes of vectors, in one arena.

mod conv;
mod layout;
mod tile;

pub use conv::{Conv, Finish, Output, Source};
pub use layout::Layout;
