//! What the programs `taper` and `cargo xtask` share of the system they run on: exit codes, signals, locks, memory, the
//! machine.

mod exit;
mod lock;
mod machine;
mod memory;
mod signals;

pub use exit::{Exit, Usage};
pub use lock::Lock;
pub use machine::Machine;
pub use memory::peak_memory;
pub use signals::{kill_group, lead_group, on_stop, terminate};
