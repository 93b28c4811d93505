//! Opens the images of a run and checks their shape.

use crate::error::usage;
use taper::data::{DataError, Dataset, FetchProgress, ImageShape, OpenOptions};

/// Opens a data set and checks that its images fit a model. If the shape is known from the name, it is checked before a
/// download.
///
/// `image` is channels, rows, columns. `limit` is the number of images to use per split; `None` for all.
///
/// # Errors
/// If the data set is unknown, cannot be read or downloaded, or has images of another shape.
pub fn open_data(
    name: &str,
    model: &str,
    image: [usize; 3],
    limit: Option<usize>,
    progress: Option<&dyn FetchProgress>,
) -> anyhow::Result<Dataset> {
    check_named(name, model, image)?;
    let [channels, height, width] = image;
    let shape = Some(ImageShape { channels, height, width });
    let options = OpenOptions { progress, limit, shape, ..OpenOptions::default() };
    let data = Dataset::open(name, &options).map_err(|error| match error {
        DataError::Unknown { .. } => usage(error),
        other => other.into(),
    })?;
    check_shape(&data.name, data.shape(), model, image)?;
    Ok(data)
}

/// Checks that the images of a data set fit a model, if the name of the data set is known.
pub(crate) fn check_named(name: &str, model: &str, image: [usize; 3]) -> anyhow::Result<()> {
    match Dataset::shape_of(name) {
        Some(shape) => check_shape(name, shape, model, image),
        None => Ok(()),
    }
}

fn check_shape(
    name: &str,
    shape: ImageShape,
    model: &str,
    image: [usize; 3],
) -> anyhow::Result<()> {
    let found = [shape.channels, shape.height, shape.width];
    if found == image {
        return Ok(());
    }
    Err(usage(format!(
        "model {model} expects images of {}, but {name} has images of {}; choose another model or data set",
        size(image),
        size(found)
    )))
}

fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}
