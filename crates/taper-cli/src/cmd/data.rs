//! The images of a run, of the size that its network takes.

use taper::{
    data::{Dataset, ImageShape, OpenOptions},
    zoo::Architecture,
};

/// Opens a data set and checks that its images fit the architecture; before it is fetched, where that can be told.
pub(super) fn open_data(
    name: &str,
    architecture: &Architecture,
    limit: Option<usize>,
) -> anyhow::Result<Dataset> {
    if let Some(shape) = Dataset::shape_of(name) {
        check_shape(name, shape, architecture)?;
    }
    let progress = crate::term::FetchBar::default();
    let options = OpenOptions { progress: Some(&progress), limit, ..OpenOptions::default() };
    let data = Dataset::open(name, &options).map_err(|error| match error {
        taper::data::DataError::Unknown { .. } => crate::error::usage(error),
        other => other.into(),
    })?;
    check_shape(&data.name, data.shape(), architecture)?;
    Ok(data)
}

fn check_shape(name: &str, shape: ImageShape, architecture: &Architecture) -> anyhow::Result<()> {
    let found = [shape.channels, shape.height, shape.width];
    if found == architecture.image {
        return Ok(());
    }
    Err(crate::error::usage(format!(
        "model {} takes images of {}, and those of {name} are {}; choose another model or data set",
        architecture.name,
        size(architecture.image),
        size(found)
    )))
}

fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}
