//! The images of a run.

use crate::error::usage;
use taper::data::{DataError, Dataset, FetchProgress, ImageShape, OpenOptions};

/// Opens a data set and checks that its images fit a model; before it is fetched, where that can be told.
///
/// `image` is channels, rows, columns; `limit` the number of images of each split that are used, if not all.
///
/// # Errors
/// If there is no such data set, it cannot be read or fetched, or its images have another shape.
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

/// Checks that the images of a data set fit a model, if it is known by its name.
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
        "model {model} takes images of {}, and those of {name} are {}; choose another model or data set",
        size(image),
        size(found)
    )))
}

fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}
