//! A tensor of a file, and what is said of a file that has none.

use super::view::View;
use std::{fmt, ops::Range};

/// A tensor whose storage is a part of the file, or what is said of one that cannot be read.
pub(super) type Entry = Result<View<Range<usize>>, String>;

/// What is said of a file that is damaged.
pub(super) fn unreadable(why: impl fmt::Display) -> String {
    format!("it is no state dict that can be read ({why}); save model.state_dict() with torch.save")
}
