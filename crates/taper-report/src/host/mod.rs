//! What the programs `taper` and `cargo xtask` share of the system they run on: exit codes, signals, locks, the machine.

mod exit;
mod lock;
mod machine;
mod signals;

pub use exit::{Exit, Usage};
pub use lock::Lock;
pub use machine::Machine;
pub use signals::{on_stop, terminate};
