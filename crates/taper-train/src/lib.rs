//! The training loop, SGD, learning rates, callbacks and checkpoints.
