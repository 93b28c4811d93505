//! The error type of all readers.

use std::fmt;

/// A file that cannot be read. The message names the node, tensor or value, what is supported, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxError {
    reason: String,
    left_open: Option<LeftOpen>,
}

/// What a file leaves open, and [`Options`](crate::Options) can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOpen {
    /// The size of images; [`Options::image`](crate::Options::image) sets it.
    Image,
    /// Which of several outputs is computed; [`Options::output`](crate::Options::output) selects it.
    Output,
}

impl OnnxError {
    pub(crate) fn new(reason: String) -> Self {
        Self { reason, left_open: None }
    }

    /// An error that an option avoids.
    pub(crate) fn open(left_open: LeftOpen, reason: String) -> Self {
        Self { reason, left_open: Some(left_open) }
    }

    /// The error with the path of the file.
    pub(crate) fn of_file(self, path: &std::path::Path) -> Self {
        Self { reason: format!("cannot read {}: {}", path.display(), self.reason), ..self }
    }

    /// What the file leaves open, if this is the cause of the error.
    pub fn left_open(&self) -> Option<LeftOpen> {
        self.left_open
    }

    /// The message without the option that avoids the error, for programs that name this option differently.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<String> for OnnxError {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match self.left_open {
            Some(LeftOpen::Image) => f.write_str("; give their size in Options::image"),
            Some(LeftOpen::Output) => f.write_str("; name one in Options::output"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OnnxError {}
