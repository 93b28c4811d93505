//! Convolutions, before and after their planes have positions in the arena.

mod kind;
mod layout;
mod place;
mod plan;
mod recipe;
mod taps;
mod term;

pub(crate) use kind::{Kind, Shape};
pub(crate) use place::Placed;
pub(crate) use recipe::Recipe;
pub(crate) use term::Term;
