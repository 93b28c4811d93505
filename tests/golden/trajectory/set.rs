//! Sets of reference training runs: their folders and images.

use crate::check::{Check, max_difference};
use crate::fill::flat;
use crate::reader::{Fields, Folder, Tensors, device};
use candle_core::Tensor;
use serde_json::Value;
use taper::data::{ImageShape, Loader, LoaderConfig, Normalisation, Split};

/// A set of runs on the same images.
pub(super) struct Set {
    /// Name of the set, followed by a space; empty for the set in the folder itself.
    pub(super) place: String,
    pub(super) json: Value,
    pub(super) tensors: Tensors,
}

/// All sets that exist: in the folder itself, in `drawn/`, and in the folder beside the repository.
pub(super) fn sets() -> Vec<Set> {
    let folder = Folder::of_tests();
    let (drawn, beside) = (folder.sub("drawn"), Folder::beside());
    let folders = [("", Some(folder)), ("drawn ", drawn), ("real ", beside)];
    let sets: Vec<Set> = folders
        .into_iter()
        .filter_map(|(place, folder)| {
            folder.filter(|f| f.has_pair("trajectory")).map(|f| (place, f))
        })
        .map(|(place, folder)| Set {
            place: place.into(),
            json: folder.json("trajectory"),
            tensors: folder.tensors("trajectory"),
        })
        .collect();
    assert!(
        !sets.is_empty(),
        "the folder has no trajectory.json with its trajectory.safetensors, nor in drawn/"
    );
    sets
}

impl Set {
    /// Images and labels `[first, first + n)` of a split, `train` or `test`, in batches.
    pub(super) fn batches(&self, split: &str, n: usize, size: usize) -> Vec<(Tensor, Tensor)> {
        let name = format!("{split}_images");
        let shape = self.tensors.shape(&name);
        let image = ImageShape { channels: shape[3], height: shape[1], width: shape[2] };
        let (pixels, labels) =
            (self.tensors.u8(&name), self.tensors.labels(&format!("{split}_labels")));
        assert!(n <= labels.len(), "{n} of {} images of {split}", labels.len());
        let planes = pixels.chunks(image.len()).take(n).flat_map(|interleaved| {
            (0..image.channels)
                .flat_map(move |c| interleaved.iter().skip(c).step_by(image.channels).copied())
        });
        let split =
            Split::new(image, planes.collect(), labels[..n].to_vec(), None).expect("a split");
        let numbers = |key| {
            self.json.list(key).iter().map(|v| v.as_f64().expect("a number") as f32).collect()
        };
        let normalisation =
            Normalisation::new(numbers("mean"), numbers("std"), 255.0).expect("constants");
        let loader =
            Loader::new(split, LoaderConfig::evaluation(size, normalisation)).expect("a loader");
        let tensors = loader.epoch(0).map(|batch| {
            let images = Tensor::from_vec(batch.images.clone(), &batch.dims()[..], &device())
                .expect("images");
            (
                images,
                Tensor::from_vec(batch.labels.clone(), batch.len(), &device()).expect("labels"),
            )
        });
        tensors.collect()
    }

    pub(super) fn n_test(&self) -> usize {
        self.tensors.shape("test_labels")[0]
    }

    pub(super) fn check_settings(&self, check: &mut Check) {
        let place = format!("{}set", self.place);
        check.equal("dampening", format_args!("{place}"), self.json.real("dampening"), 0.0);
        check.equal("nesterov", format_args!("{place}"), self.json.flag("nesterov"), false);
        let (images, _) = self.batches("test", self.n_test(), self.n_test()).remove(0);
        let (error, _) =
            max_difference(&flat(&images), self.tensors.f32("check.test_images_normalised"));
        check.within("normalised images", format_args!("{place}"), error, 0.0, 1e-6);
    }
}
