//! Image data sets, augmentation and a seeded loader. Knows no networks and no tensors: pixels come as `u8`, batches
//! go as `f32` in `[n, channels, height, width]`.
//!
//! ```
//! use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
//!
//! let data = Dataset::open("digits", &OpenOptions::default())?;
//! assert_eq!((data.train.len(), data.test.len()), (1442, 355));
//!
//! let config = LoaderConfig::train(128, Augment::Shift, data.normalisation.clone(), 42);
//! let loader = Loader::new(data.train.clone(), config)?;
//! for batch in loader.epoch(0) {
//!     assert_eq!(batch.images.len(), batch.len() * 8 * 8);
//! }
//! # Ok::<(), taper_data::DataError>(())
//! ```
//!
//! | [`Dataset::open`] of | gives |
//! | --- | --- |
//! | `digits` | 1,797 embedded images of 8 x 8, a fixed stratified split |
//! | `cifar10`, `cifar100` | parquet from the hub's cache, fetched once and verified; `cifar10@REVISION` for a branch, tag or commit |
//! | a folder | the same parquet files, CIFAR's binary version, or a folder of PNG and JPEG images for each class |
//!
//! Everything random is a function of `(seed, epoch, index of the image)`: see [`taper_core::rng`]. Which images
//! [`Split::hold_out`] gives for validation depends on the data alone. Files are not trusted:
//! whatever is in them, the answer is data or a [`DataError`] that says which file, which row and what to do.
//!
//! # Credit
//!
//! The embedded digits are the test part of *Optical Recognition of Handwritten Digits* by E. Alpaydin and C. Kaynak,
//! UCI Machine Learning Repository, 1998, <https://doi.org/10.24432/C50P49>, licensed under CC BY 4.0 and converted to
//! binary records without other changes. CIFAR-10 and CIFAR-100 are by A. Krizhevsky, *Learning Multiple Layers of
//! Features from Tiny Images*, 2009; they are fetched, not included.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "makes inputs, and wants no bits"))]

mod augment;
mod binary;
mod classes;
mod dataset;
mod digits;
mod error;
mod folder;
mod hold_out;
mod hub;
mod image;
mod image_folder;
mod loader;
mod normalise;
mod order;
mod origin;
mod parquet;
mod picture;
mod progress;
mod resize;
mod split;

pub use augment::{Augment, CropFlip};
pub use binary::read_binary;
pub use classes::Cifar;
pub use dataset::{DATASETS, Dataset, OpenOptions};
pub use error::{DataError, Result};
pub use hub::{Fetched, HubOptions, fetch_file};
pub use image::{Image, decode_png};
pub use loader::{Batch, Epoch, Loader, LoaderConfig, Selection};
pub use normalise::Normalisation;
pub use origin::Origin;
pub use parquet::read_parquet;
pub use picture::Picture;
pub use progress::{FetchProgress, Silent};
pub use split::{ImageShape, Split};

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
