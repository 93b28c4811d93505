//! The library against values of the public reference implementation of Feather, and optimizers against PyTorch's.
//!
//! The folder is that of `TAPER_GOLDEN`, or `testdata/golden` of this repository. Every number that a test compares
//! with, every seed, shape, ratio and list of cases, comes from the files in it, so that another folder of the same
//! form tests the same things at other points. Tolerances are those that the folder's README states.
//!
//! Each test prints the worst deviation it met as a share of what is tolerated (`-- --nocapture` shows it).
#![allow(clippy::disallowed_methods, reason = "makes inputs, and wants no bits")]

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
