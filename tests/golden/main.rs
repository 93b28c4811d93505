//! Golden tests: the library against the public reference implementation of Feather, torchvision, and PyTorch.
//!
//! Values come from the folder in `TAPER_GOLDEN`, else from `testdata/golden` of this repository. All expected numbers,
//! seeds, shapes, ratios and lists of cases are in its files. Another folder of the same form runs the same tests with
//! other values. The README of the folder states the tolerances.
//!
//! Each test prints its worst deviation in percent of the tolerance (`-- --nocapture` shows it).
#![allow(clippy::disallowed_methods, reason = "only makes test inputs")]

mod check;
mod fill;
mod initial;
mod loaders;
mod optimizers;
mod reader;
mod schedule;
mod select;
mod threshold;
mod trajectory;
mod zoo;
