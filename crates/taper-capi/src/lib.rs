//! C API for compiled inference. `include/taper_infer.h` documents the functions.
//!
//! A panic inside a function becomes an error. Null or misaligned pointers are rejected; the header lists all other
//! conditions on pointers.

mod error;
mod network;
