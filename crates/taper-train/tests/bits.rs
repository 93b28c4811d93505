//! Training ends in recorded bits. The test fails on a machine that computes other bits.
//!
//! Every kernel variant that this machine supports must reproduce them. If a change affects rounding on all machines,
//! record the new bits and note it in the changelog.

use candle_core::Device;
use std::error::Error;
use taper_core::Sparsity;
use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
use taper_kernels::Variant;
use taper_prune::Pruner;
use taper_train::{Callbacks, Progress, Recipe, Run, train};

/// Checksum of all parameters after six steps on the digits, and the bits of the test loss.
fn trained(batch_size: usize, sparsity: f64) -> Result<(u32, u64), Box<dyn Error>> {
    let options = OpenOptions { limit: Some(6 * batch_size), ..OpenOptions::default() };
    let data = Dataset::open("digits", &options)?;
    let normalisation = data.normalisation.clone();
    let config = LoaderConfig::train(batch_size, Augment::Shift, normalisation.clone(), 0);
    let batches = Loader::new(data.train.clone(), config)?;
    // The last batch of test images has fewer than eight images.
    let test = Loader::new(data.test.clone(), LoaderConfig::evaluation(13, normalisation))?;
    let model = taper_zoo::build("digits-cnn", 10, 0, &Device::Cpu)?;
    let recipe = Recipe { epochs: 1, label_smoothing: 0.1, ..Recipe::default() };
    let total = recipe.total_steps(&batches);
    assert_eq!(total, 6);
    let pruner = (sparsity > 0.0)
        .then(|| {
            let target = Sparsity::new(sparsity)?;
            Ok::<_, Box<dyn Error>>(Pruner::feather(model.params().prunable(), target, total)?)
        })
        .transpose()?;
    let mut run = Run::new(&*model, pruner, &batches, &test, recipe, &Device::Cpu);
    let outcome = train(&mut run, Progress::default(), &mut Callbacks::default(), None)?;
    let taper_train::Outcome::Finished(progress) = outcome else { panic!("{outcome:?}") };
    let mut checksum = 0;
    for (entry, _) in model.params().trained() {
        for value in entry.var.flatten_all()?.to_vec1::<f32>()? {
            checksum = crc32c::crc32c_append(checksum, &value.to_le_bytes());
        }
    }
    let last = progress.history.last().ok_or("no epoch")?;
    Ok((checksum, last.test_loss.to_bits()))
}

/// Batch size, sparsity, checksum of the parameters, bits of the test loss; see [`trained`].
const RECORDED: [(usize, f64, u32, u64); 4] = [
    (5, 0.0, 0x4a9d_2b80, 0x4002_6b63_8eee_eeef),
    (5, 0.9, 0x1ad4_f980, 0x4002_6c0e_d333_3333),
    (48, 0.0, 0xdeaf_a1b7, 0x4002_6aa2_0800_0000),
    (48, 0.9, 0xa1a9_55f1, 0x4002_6beb_f338_e38e),
];

#[test]
fn training_ends_in_the_recorded_bits() -> Result<(), Box<dyn Error>> {
    for variant in Variant::available() {
        let mut found = RECORDED;
        for (batch_size, sparsity, checksum, loss) in &mut found {
            (*checksum, *loss) = variant.with(|| trained(*batch_size, *sparsity))?;
        }
        assert_eq!(found, RECORDED, "{variant}: batch size, sparsity, checksum, loss");
    }
    Ok(())
}
