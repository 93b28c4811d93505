//! Lists the epochs of a run: `cargo run -p taper-record --example epochs -- runs/x`.

use std::path::PathBuf;
use taper_record::{RecordError, RunFiles};

fn main() -> Result<(), RecordError> {
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else {
        println!("give the folder of a run as an argument, such as runs/x");
        return Ok(());
    };
    let files = RunFiles::new(&folder);
    let Some(run) = files.run()? else {
        println!("{} does not contain a run", folder.display());
        return Ok(());
    };
    println!("{} on {}", run.recipe["model"].as_str().unwrap_or("a network"), run.data.name);
    for epoch in files.epochs()? {
        println!(
            "epoch {:>3}: sparsity {:.2} %, test accuracy {:.2} %",
            epoch.epoch + 1,
            100.0 * epoch.sparsity,
            100.0 * epoch.test_accuracy
        );
    }
    if let Some(result) = files.result()? {
        println!("{} of {} weights are kept", result.totals.n_kept, result.totals.n_prunable);
    }
    Ok(())
}
