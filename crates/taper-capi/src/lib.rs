//! Compiled inference for C: `include/taper_infer.h` says what each function does.
//!
//! No panic leaves a function: it becomes an error like any other. Pointers that are null or misaligned are refused; what
//! else must hold of them is in the header.

mod error;
mod network;
