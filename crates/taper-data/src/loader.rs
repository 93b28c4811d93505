//! The loader: batches for training and evaluation, prepared in a background thread.

use crate::order::shuffled;
use crate::{Augment, DataError, ImageShape, Normalisation, Result, Split};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Configuration of a [`Loader`].
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Images in a batch, at least 1; the last batch of an epoch may have fewer.
    pub batch_size: usize,
    /// Random augmentation of each image.
    pub augment: Augment,
    /// Normalisation of pixels. It must have as many channels as the images.
    pub normalisation: Normalisation,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Whether each epoch has its own random order; otherwise, images keep the order of the file.
    pub shuffle: bool,
    /// Whether an incomplete last batch is left out. Feather's reference implementation keeps it.
    pub drop_last: bool,
}

impl LoaderConfig {
    /// For training: shuffled; the last batch is kept.
    pub fn train(
        batch_size: usize,
        augment: Augment,
        normalisation: Normalisation,
        seed: u64,
    ) -> Self {
        Self { batch_size, augment, normalisation, seed, shuffle: true, drop_last: false }
    }

    /// For evaluation: every image once, in the order of the file, without augmentation.
    pub fn evaluation(batch_size: usize, normalisation: Normalisation) -> Self {
        Self {
            batch_size,
            augment: Augment::None,
            normalisation,
            seed: 0,
            shuffle: false,
            drop_last: false,
        }
    }
}

/// Normalised images and their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[n, channels, height, width]`, row-major, normalised.
    pub images: Vec<f32>,
    /// `[n]`.
    pub labels: Vec<u32>,
    /// Shape of one image.
    pub shape: ImageShape,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image. Only a [`part`](Self::part) of a batch can be empty.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images in a range.
    ///
    /// # Panics
    /// If the range is not within the batch.
    #[must_use]
    pub fn part(&self, images: Range<usize>) -> Self {
        let (len, labels) = (self.shape.len(), self.labels[images.clone()].to_vec());
        let pixels = self.images[images.start * len..images.end * len].to_vec();
        Self { images: pixels, labels, shape: self.shape }
    }

    /// `[n, channels, height, width]`.
    pub fn dims(&self) -> [usize; 4] {
        [self.len(), self.shape.channels, self.shape.height, self.shape.width]
    }
}

/// Creates the batches of any epoch. The content of a batch depends only on the split, the configuration, the epoch and
/// the number of the batch, not on the number of threads.
///
/// ```
/// use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
/// let data = Dataset::open("digits", &OpenOptions::default())?;
/// let config = LoaderConfig::train(64, Augment::Shift, data.normalisation.clone(), 0);
/// let loader = Loader::new(data.train.clone(), config)?;
/// let all: Vec<_> = loader.epoch(3).collect();
/// let rest: Vec<_> = loader.epoch_from(3, 20).collect();   // resumed in the middle
/// assert_eq!(all[20..], rest);
/// # Ok::<(), taper_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Loader {
    maker: Arc<Maker>,
}

#[derive(Debug)]
struct Maker {
    split: Arc<Split>,
    config: LoaderConfig,
    tables: Vec<[f32; 256]>,
}

impl Loader {
    /// A loader over `split`.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a batch size of 0, or a normalisation with another number of channels.
    pub fn new(split: impl Into<Arc<Split>>, config: LoaderConfig) -> Result<Self> {
        let split = split.into();
        if config.batch_size == 0 {
            return Err(DataError::Invalid(
                "a batch size of 0 is out of range; it must be at least 1".into(),
            ));
        }
        let (have, want) = (config.normalisation.channels(), split.shape().channels);
        if have != want {
            return Err(DataError::Invalid(format!(
                "the normalisation has {have} channels, but the images have {want}; use the normalisation of the data set"
            )));
        }
        let tables = config.normalisation.tables();
        Ok(Self { maker: Arc::new(Maker { split, config, tables }) })
    }

    /// Number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        let (n, size) = (self.n_images(), self.maker.config.batch_size);
        if self.maker.config.drop_last { n / size } else { n.div_ceil(size) }
    }

    /// Number of images in the split.
    pub fn n_images(&self) -> usize {
        self.maker.split.len()
    }

    /// Number of images in a batch, counted from 0.
    pub fn n_images_of(&self, batch: usize) -> usize {
        self.maker.range(batch, self.n_images()).len()
    }

    /// Shape of one image.
    pub fn shape(&self) -> ImageShape {
        self.maker.split.shape()
    }

    /// The first `per_class` images of each class in the order of an epoch, with the augmentation of that epoch. A
    /// class with fewer images contributes all of them. The epoch itself does not change. A batch has at most `size`
    /// images, and at most the batch size of the loader.
    ///
    /// ```
    /// use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
    /// let data = Dataset::open("digits", &OpenOptions::default())?;
    /// let config = LoaderConfig::train(16, Augment::Shift, data.normalisation.clone(), 0);
    /// let some = Loader::new(data.train.clone(), config)?.of_each_class(0, 2, 64);
    /// let sizes: Vec<_> = (0..3).map(|k| some.batch(k).map(|batch| batch.len())).collect();
    /// assert_eq!((some.n_images(), &sizes[..]), (20, &[Some(16), Some(4), None][..]));
    /// # Ok::<(), taper_data::DataError>(())
    /// ```
    pub fn of_each_class(&self, epoch: u64, per_class: usize, size: usize) -> Selection {
        let labels = self.maker.split.labels();
        let mut seen = HashMap::new();
        let mut order = self.maker.order(epoch);
        order.retain(|&index| {
            let n = seen.entry(labels[index as usize]).or_insert(0);
            *n += 1;
            *n <= per_class
        });
        let size = self.maker.config.batch_size.min(size.max(1));
        Selection { maker: Arc::clone(&self.maker), epoch, order, size }
    }

    /// The batches of an epoch. Epochs count from 0.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from number `first_batch` on. Empty if the epoch has no more batches.
    pub fn epoch_from(&self, epoch: u64, first_batch: usize) -> Epoch {
        self.parts_from(epoch, first_batch, |_, n| 0..n)
    }

    /// As [`epoch_from`](Self::epoch_from), but only a part of each batch. `part` receives the number of the batch and
    /// its number of images, and returns the range of images. Other images are not prepared.
    ///
    /// ```
    /// use taper_data::{Augment, Dataset, Loader, LoaderConfig, OpenOptions};
    /// let data = Dataset::open("digits", &OpenOptions::default())?;
    /// let config = LoaderConfig::train(64, Augment::Shift, data.normalisation.clone(), 0);
    /// let loader = Loader::new(data.train.clone(), config)?;
    /// let second_halves = loader.parts_from(0, 0, |_, n| n / 2..n);
    /// for (half, whole) in second_halves.zip(loader.epoch(0)) {
    ///     assert_eq!(half.labels, whole.labels[whole.len() / 2..]);
    /// }
    /// # Ok::<(), taper_data::DataError>(())
    /// ```
    ///
    /// # Panics
    /// If a range is not within the batch.
    pub fn parts_from(
        &self,
        epoch: u64,
        first_batch: usize,
        part: impl Fn(usize, usize) -> Range<usize> + Send + Sync + 'static,
    ) -> Epoch {
        let left = first_batch..self.batches_per_epoch();
        let part: Part = Arc::new(part);
        let (sender, receiver) = sync_channel(1);
        let (maker, batches, of_batch) = (Arc::clone(&self.maker), left.clone(), part.clone());
        let work = move || {
            let order = maker.order(epoch);
            for b in batches {
                // Sending fails after the iterator was dropped: the rest is not needed.
                if sender.send(maker.batch(&order, epoch, b, &of_batch)).is_err() {
                    break;
                }
            }
        };
        let source = match Builder::new().name("taper-loader".into()).spawn(work) {
            Ok(thread) => Source::Thread { receiver: Some(receiver), thread: Some(thread) },
            // If no thread can be created, the batches are prepared when they are needed.
            Err(_) => Source::Here {
                order: self.maker.order(epoch),
                maker: Arc::clone(&self.maker),
                epoch,
                part,
            },
        };
        Epoch { left, source }
    }
}

/// The wanted range of images in a batch, from the number of the batch and its number of images.
type Part = Arc<dyn Fn(usize, usize) -> Range<usize> + Send + Sync>;

impl Maker {
    fn order(&self, epoch: u64) -> Vec<u32> {
        match self.config.shuffle {
            true => shuffled(self.split.len(), self.config.seed, epoch),
            false => (0..self.split.len() as u32).collect(),
        }
    }

    /// The range of a batch among `n` images.
    fn range(&self, number: usize, n: usize) -> Range<usize> {
        let size = self.config.batch_size;
        let start = number.saturating_mul(size).min(n);
        start..n.min(start.saturating_add(size))
    }

    fn batch(&self, order: &[u32], epoch: u64, number: usize, part: &Part) -> Batch {
        let chosen = &order[self.range(number, order.len())];
        self.images(&chosen[part(number, chosen.len())], epoch)
    }

    /// The images with these indices, with the augmentation of an epoch.
    fn images(&self, chosen: &[u32], epoch: u64) -> Batch {
        let Self { split, config, tables } = self;
        let shape = split.shape();
        let mut images = vec![0.0; chosen.len() * shape.len()];
        // Not in parallel: if rayon's pool has one thread, that thread waits for this batch, and a parallel loop would
        // never start.
        for (target, &index) in images.chunks_exact_mut(shape.len()).zip(chosen) {
            let source = &split.images()[index as usize * shape.len()..][..shape.len()];
            config
                .augment
                .view(config.seed, epoch, index.into())
                .render(shape, source, tables, target);
        }
        let labels = chosen.iter().map(|&index| split.labels()[index as usize]).collect();
        Batch { images, labels, shape }
    }
}

/// Some images of an epoch, in batches.
#[derive(Debug, Clone)]
pub struct Selection {
    maker: Arc<Maker>,
    epoch: u64,
    order: Vec<u32>,
    /// Images in a batch.
    size: usize,
}

impl Selection {
    /// Number of images.
    pub fn n_images(&self) -> usize {
        self.order.len()
    }

    /// A batch, counted from 0; `None` after the last.
    pub fn batch(&self, number: usize) -> Option<Batch> {
        let start = number.checked_mul(self.size)?;
        let chosen = self.order.get(start..)?;
        let chosen = &chosen[..chosen.len().min(self.size)];
        (!chosen.is_empty()).then(|| self.maker.images(chosen, self.epoch))
    }
}

/// An iterator over the batches of an epoch. A background thread prepares one or two batches ahead; it ends with the
/// iterator.
pub struct Epoch {
    left: Range<usize>,
    source: Source,
}

enum Source {
    Thread { receiver: Option<Receiver<Batch>>, thread: Option<JoinHandle<()>> },
    Here { maker: Arc<Maker>, order: Vec<u32>, epoch: u64, part: Part },
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Epoch").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Iterator for Epoch {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let number = self.left.next()?;
        match &mut self.source {
            Source::Here { maker, order, epoch, part } => {
                Some(maker.batch(order, *epoch, number, part))
            }
            Source::Thread { receiver, thread } => match receiver.as_ref()?.recv() {
                Ok(batch) => Some(batch),
                // The thread ends early only if it panics; propagate the panic.
                Err(_) => match thread.take()?.join() {
                    Ok(()) => None,
                    Err(panic) => std::panic::resume_unwind(panic),
                },
            },
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        if let Source::Thread { receiver, thread } = &mut self.source {
            // The receiver first: dropping it wakes a thread that waits in `send`.
            drop(receiver.take());
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is `[i, 0]` with label `i`.
    fn loader(n: usize, change: impl FnOnce(&mut LoaderConfig)) -> Loader {
        let shape = ImageShape { channels: 1, height: 1, width: 2 };
        let images = (0..n).flat_map(|i| [i as u8, 0]).collect();
        let split = Split::new(shape, images, (0..n as u32).collect(), None).unwrap();
        let plain = Normalisation::new(vec![0.0], vec![1.0], 1.0).unwrap();
        let mut config = LoaderConfig::train(4, Augment::None, plain, 7);
        change(&mut config);
        Loader::new(split, config).unwrap()
    }

    fn labels(epoch: Epoch) -> Vec<u32> {
        epoch.flat_map(|b| b.labels).collect()
    }

    #[test]
    fn the_last_batch_is_kept_by_default() {
        let sizes = |l: &Loader| l.epoch(0).map(|b| b.len()).collect::<Vec<_>>();
        let kept = loader(10, |_| {});
        assert_eq!((kept.batches_per_epoch(), sizes(&kept)), (3, vec![4, 4, 2]));
        let dropped = loader(10, |c| c.drop_last = true);
        assert_eq!((dropped.batches_per_epoch(), sizes(&dropped)), (2, vec![4, 4]));
        assert_eq!(loader(0, |_| {}).epoch(0).count(), 0);
        assert_eq!(sizes(&loader(3, |c| c.batch_size = usize::MAX)), [3]);
    }

    #[test]
    fn every_image_comes_once_with_its_label() {
        let l = loader(50, |_| {});
        for epoch in 0..3 {
            let mut seen = Vec::new();
            for batch in l.epoch(epoch) {
                assert_eq!(batch.dims(), [batch.len(), 1, 1, 2]);
                for (image, &label) in batch.images.chunks(2).zip(&batch.labels) {
                    assert_eq!(image, [label as f32, 0.0]);
                }
                seen.extend(batch.labels);
            }
            assert!(!seen.is_sorted());
            seen.sort_unstable();
            assert_eq!(seen, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn order_depends_on_seed_and_epoch_and_on_nothing_else() {
        let l = loader(50, |_| {});
        assert_eq!(labels(l.epoch(1)), labels(l.epoch(1)));
        assert_ne!(labels(l.epoch(1)), labels(l.epoch(2)));
        assert_ne!(labels(l.epoch(1)), labels(loader(50, |c| c.seed = 8).epoch(1)));
        assert_eq!(labels(l.epoch(1)), labels(loader(50, |c| c.augment = Augment::Shift).epoch(1)));
        assert!(labels(loader(50, |c| c.shuffle = false).epoch(1)).is_sorted());
    }

    #[test]
    fn images_are_augmented_by_seed_epoch_and_index() {
        let shape = ImageShape { channels: 1, height: 6, width: 5 };
        let pixels: Vec<u8> = (0..20 * 30).map(|i| (i % 251 + 1) as u8).collect();
        let split = Split::new(shape, pixels.clone(), (0..20).collect(), None).unwrap();
        let plain = Normalisation::new(vec![0.0], vec![1.0], 1.0).unwrap();
        let tables = plain.tables();
        let config = LoaderConfig::train(8, Augment::CropFlip, plain, 7);
        let loader = Loader::new(split, config).unwrap();
        let view = |seed, epoch, index: u32| {
            let mut image = vec![0.0; 30];
            let source = &pixels[index as usize * 30..][..30];
            let view = Augment::CropFlip.view(seed, epoch, index.into());
            view.render(shape, source, &tables, &mut image);
            image
        };
        let mut n_other = 0;
        for batch in loader.epoch(3) {
            for (image, &index) in batch.images.chunks(30).zip(&batch.labels) {
                assert_eq!(image, view(7, 3, index), "image {index}");
                n_other += usize::from(image != view(3, 7, index));
            }
        }
        assert!(n_other > 10, "{n_other}");
    }

    #[test]
    fn an_epoch_resumes_at_any_batch() {
        let l = loader(30, |c| c.augment = Augment::Shift);
        let all: Vec<_> = l.epoch(5).collect();
        for first in 0..=all.len() {
            assert_eq!(l.epoch_from(5, first).collect::<Vec<_>>(), all[first..]);
        }
        assert_eq!(l.epoch_from(5, 99).count(), 0);
    }

    #[test]
    fn the_background_thread_prepares_the_same_batches() {
        let l = loader(60, |c| c.augment = Augment::CropFlip);
        let order = l.maker.order(2);
        let whole: Part = Arc::new(|_, n| 0..n);
        let here: Vec<_> = (0..15).map(|b| l.maker.batch(&order, 2, b, &whole)).collect();
        assert_eq!(here, l.epoch(2).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_images_of_each_class_are_those_of_the_epoch() {
        let shape = ImageShape { channels: 1, height: 1, width: 2 };
        // Three classes; the last has one image.
        let labels = (0..33).map(|i| if i == 32 { 2 } else { u32::from(i % 8 > 4) }).collect();
        let images = (0..33).flat_map(|i| [i as u8, 0]).collect();
        let split = Split::new(shape, images, labels, None).unwrap();
        let plain = Normalisation::new(vec![0.0], vec![1.0], 1.0).unwrap();
        let l = Loader::new(split, LoaderConfig::train(4, Augment::None, plain, 7)).unwrap();
        let pairs = |batch: Batch| -> Vec<(f32, u32)> {
            batch.images.iter().step_by(2).copied().zip(batch.labels).collect()
        };
        for epoch in [0, 3] {
            let some = l.of_each_class(epoch, 5, 99);
            assert_eq!((some.n_images(), some.batch(3), some.batch(usize::MAX)), (11, None, None));
            let found: Vec<_> = (0..3).flat_map(|k| pairs(some.batch(k).unwrap())).collect();
            let mut seen = [0; 3];
            let mut wanted: Vec<_> = l.epoch(epoch).flat_map(pairs).collect();
            wanted.retain(|&(_, label)| {
                seen[label as usize] += 1;
                seen[label as usize] <= 5
            });
            assert_eq!(found, wanted);
            let small = l.of_each_class(epoch, 5, 3);
            let batches: Vec<_> = (0..4).map(|k| pairs(small.batch(k).unwrap())).collect();
            assert_eq!((batches[0].len(), batches.concat()), (3, wanted));
        }
        let n_images = |per_class| l.of_each_class(0, per_class, 4).n_images();
        assert_eq!([n_images(0), n_images(99)], [0, 33]);
    }

    #[test]
    fn dropping_an_epoch_ends_its_thread() {
        let l = loader(60, |_| {});
        let mut epoch = l.epoch(0);
        assert_eq!(epoch.len(), 15);
        epoch.next();
        assert_eq!(epoch.len(), 14);
        // The thread has a reference to the maker; after the drop, only the loader has one.
        drop(epoch);
        assert_eq!(Arc::strong_count(&l.maker), 1);
        drop(l.epoch(0));
        assert_eq!(Arc::strong_count(&l.maker), 1);
    }

    #[test]
    fn invalid_configurations_are_errors() {
        let data =
            |c: LoaderConfig| Loader::new(crate::digits::splits().unwrap()[0].clone(), c).map(drop);
        let zero =
            data(LoaderConfig::evaluation(0, Normalisation::DIGITS)).unwrap_err().to_string();
        assert!(zero.contains("at least 1"), "{zero}");
        let colours =
            data(LoaderConfig::evaluation(1, Normalisation::FEATHER)).unwrap_err().to_string();
        assert!(colours.contains("3 channels") && colours.contains("have 1"), "{colours}");
    }
}
