//! The program `taper` as a whole, as its users run it, and the rules of the sources. One binary: linking a test with all
//! libraries takes longer than compiling it.

mod bad_input;
mod compiled;
mod data;
mod documents;
mod experiments;
mod export;
mod finetune;
mod imports;
mod infer;
mod interop;
mod networks;
mod program;
mod resume;
mod shrink;
mod study;
mod suite;
#[path = "../support/mod.rs"]
mod support;
mod tidy;
mod tutorials;
mod validation;
