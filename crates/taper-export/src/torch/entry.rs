//! A tensor of a file, and the message for an unreadable file.

use super::view::View;
use std::{fmt, ops::Range};

/// A tensor with its storage as a byte range of the file, or the reason why it cannot be read.
pub(super) type Entry = Result<View<Range<usize>>, String>;

/// The message for a damaged file.
pub(super) fn unreadable(why: impl fmt::Display) -> String {
    format!("it is not a readable state dict ({why}); save model.state_dict() with torch.save")
}
