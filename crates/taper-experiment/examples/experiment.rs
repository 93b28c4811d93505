//! Trains two seeds of an experiment and prints their accuracies. A second call resumes unfinished runs and reuses
//! finished ones.

use taper_experiment::{Callbacks, Ended, Experiment, Training};

fn main() -> anyhow::Result<()> {
    for seed in 0..2 {
        let experiment = Experiment::default()
            .set("seed", seed)
            .set("prune.method", "feather")
            .set("prune.sparsity", 0.95)
            .set("train.epochs", 2);
        let folder = std::env::temp_dir().join(format!("taper-example-seed{seed}"));
        let training =
            Training { resume: true, ..Training::new(experiment.resolve()?) }.out(folder);
        if let Ended::Finished { result, folder, .. } = training.run(Callbacks::default())? {
            println!("{:.2} % in {}", 100.0 * result.test_accuracy, folder.display());
        }
    }
    Ok(())
}
