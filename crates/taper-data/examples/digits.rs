//! Prints the shapes and means of the batches of an epoch, and one augmented training image.
//!
//! `cargo run --release -p taper-data --example digits`

use taper_data::{Augment, DataError, Dataset, Loader, LoaderConfig, OpenOptions};

fn main() -> Result<(), DataError> {
    let data = Dataset::open("digits", &OpenOptions::default())?;
    println!(
        "{}: {} + {} images, fingerprint {}",
        data.name,
        data.train.len(),
        data.test.len(),
        data.fingerprint
    );

    let config = LoaderConfig::train(128, Augment::Shift, data.normalisation.clone(), 0);
    let loader = Loader::new(data.train.clone(), config)?;
    for (number, batch) in loader.epoch(0).enumerate() {
        let mean = batch.images.iter().sum::<f32>() / batch.images.len() as f32;
        println!("batch {number:2}: {:?}, mean {mean:+.3}", batch.dims());
    }

    if let Some(batch) = loader.epoch(0).next() {
        println!("a {}:", data.classes[batch.labels[0] as usize]);
        for row in batch.images[..batch.shape.len()].chunks(batch.shape.width) {
            let line: String = row
                .iter()
                .map(|&v| {
                    if v > 1.0 {
                        "##"
                    } else if v > 0.0 {
                        "::"
                    } else {
                        "  "
                    }
                })
                .collect();
            println!("  {line}");
        }
    }
    Ok(())
}
