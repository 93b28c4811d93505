//! Image data sets, augmentation and a seeded loader. The crate does not depend on a tensor library: pixels are stored
//! as `u8`, and batches are `f32` values in `[n, channels, height, width]`.
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
//! | argument of [`Dataset::open`] | data set |
//! | --- | --- |
//! | `digits` | 1,797 embedded images of 8 × 8 pixels, with a fixed stratified split |
//! | `cifar10`, `cifar100` | parquet files from the Hugging Face hub, downloaded once, verified and cached; `cifar10@REVISION` selects a branch, tag or commit |
//! | path of a folder | the same parquet files, CIFAR's binary version, or a folder of PNG and JPEG images per class |
//!
//! All random choices depend only on `(seed, epoch, index of the image)`; see [`taper_core::rng`]. The validation
//! images of [`Split::hold_out`] depend only on the data. Files are not trusted: an invalid file is a [`DataError`]
//! that names the file, the row and the remedy.
//!
//! # Credit
//!
//! The embedded digits are the test part of *Optical Recognition of Handwritten Digits* by E. Alpaydin and C. Kaynak,
//! UCI Machine Learning Repository, 1998, <https://doi.org/10.24432/C50P49>, licensed under CC BY 4.0 and converted to
//! binary records without other changes. CIFAR-10 and CIFAR-100 are by A. Krizhevsky, *Learning Multiple Layers of
//! Features from Tiny Images*, 2009; they are fetched, not included.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "test inputs need not be bit-identical")
)]

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
pub use dataset::{Dataset, OpenOptions};
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
#[doc(no_inline)]
pub use taper_core::DATASETS;

/// The bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
