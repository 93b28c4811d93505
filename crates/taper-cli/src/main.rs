//! Command line of taper: train, evaluate and inspect sparse networks.
fn main() {}
