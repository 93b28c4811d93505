//! Sparse training on candle: every taper crate under one name, with a prelude and a guide.
